//! The head of a request, and what is wrong with it.

use std::io::Read;

/// A longer head is refused.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    MisdirectedRequest,
    HeadTooLarge,
}

impl Status {
    /// The number and its name.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::MisdirectedRequest => "421 Misdirected Request",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
        }
    }
}

/// What a request asks for, and who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub is_head: bool,
    /// As it was sent, without a query.
    pub path: String,
    hosts: Vec<String>,
    site: Option<String>,
}

impl Request {
    /// Reads the head; a body is never read.
    pub fn read(stream: &mut impl Read) -> Result<Self, Status> {
        let mut head = Vec::new();
        let mut buffer = [0; 2048];
        let end = loop {
            if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            if head.len() > MAX_HEAD_BYTES {
                return Err(Status::HeadTooLarge);
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return Err(Status::BadRequest),
                Ok(read) => head.extend_from_slice(&buffer[..read]),
            }
        };
        Self::parse(std::str::from_utf8(&head[..end]).map_err(|_| Status::BadRequest)?)
    }

    fn parse(head: &str) -> Result<Self, Status> {
        let mut lines = head.split("\r\n");
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else { return Err(Status::BadRequest) };
        let is_head = match method {
            "GET" => false,
            "HEAD" => true,
            _ => return Err(Status::MethodNotAllowed),
        };
        let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
        let (mut hosts, mut site) = (Vec::new(), None);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Status::BadRequest)?;
            match name.to_ascii_lowercase().as_str() {
                "host" => hosts.push(value.trim().to_ascii_lowercase()),
                "sec-fetch-site" => site = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        Ok(Self { is_head, path, hosts, site })
    }

    /// Whether it was meant for this server, and not sent by another site's page.
    pub fn check(&self, port: u16) -> Result<(), Status> {
        let [host] = &self.hosts[..] else { return Err(Status::BadRequest) };
        let ours = ["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}"));
        // A browser leaves out the port that is HTTP's own.
        let is_ours = ours.contains(host) || port == 80 && ours.contains(&format!("{host}:80"));
        if !is_ours {
            return Err(Status::MisdirectedRequest);
        }
        match self.site.as_deref() {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) => Err(Status::Forbidden),
        }
    }
}

/// The file that a path names below the directory, if each of its parts is a plain name.
pub(super) fn file_name(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    let name = if path.is_empty() { "index.html" } else { path };
    // Files of a report have no other names, so nothing needs to be decoded.
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.split('/').all(is_plain).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Request, Status> {
        Request::read(&mut head.as_bytes())
    }

    #[test]
    fn names_are_plain_or_refused() {
        assert_eq!(file_name("/").as_deref(), Some("index.html"));
        assert_eq!(file_name("/data/features/000/000001.js").as_deref(), Some("data/features/000/000001.js"));
        for path in [
            "",
            "index.html",
            "//etc/passwd",
            "/../a.js",
            "/a/../b.js",
            "/a/./b.js",
            "/%2e%2e/a.js",
            "/..%2fa.js",
            "/a\\b.js",
            "/C:/a.js",
            "/.git/a.js",
            "/data/",
            "/a.js\0",
            "/é.js",
            "/a b.js",
            "http://localhost/a.js",
        ] {
            assert_eq!(file_name(path), None, "{path}");
        }
    }

    #[test]
    fn only_this_machines_names_are_ours() {
        let with =
            |fields: &str| parse(&format!("GET / HTTP/1.1\r\n{fields}\r\n")).and_then(|request| request.check(99));
        for host in ["localhost:99", "127.0.0.1:99", "[::1]:99", "LOCALHOST:99"] {
            assert_eq!(with(&format!("Host: {host}\r\n")), Ok(()), "{host}");
        }
        for host in
            ["evil.example:99", "localhost", "localhost:98", "localhost:99.evil.example", "127.0.0.1:99@evil", ""]
        {
            assert_eq!(with(&format!("Host: {host}\r\n")), Err(Status::MisdirectedRequest), "{host}");
        }
        assert_eq!(with(""), Err(Status::BadRequest));
        assert_eq!(with("Host: localhost:99\r\nHost: evil.example\r\n"), Err(Status::BadRequest));
        let from = |site: &str| with(&format!("Host: localhost:99\r\nSec-Fetch-Site: {site}\r\n"));
        assert_eq!(["none", "same-origin"].map(from), [Ok(()); 2]);
        assert_eq!(["cross-site", "same-site", "what"].map(from), [Err(Status::Forbidden); 3]);
    }

    #[test]
    fn heads_are_parsed_or_refused() {
        let request = parse("HEAD /a.js?q#f HTTP/1.1\r\nHost: h\r\n\r\nbody").unwrap();
        assert_eq!((request.is_head, request.path.as_str()), (true, "/a.js"));
        for head in ["", "GET / HTTP/1.1\r\n", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET / HTTP/2\r\n\r\n"] {
            assert_eq!(parse(head), Err(Status::BadRequest), "{head:?}");
        }
        assert_eq!(parse("GET / HTTP/1.1\r\nno colon\r\n\r\n"), Err(Status::BadRequest));
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
            assert_eq!(parse(&format!("{method} / HTTP/1.1\r\n\r\n")), Err(Status::MethodNotAllowed), "{method}");
        }
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(2 * MAX_HEAD_BYTES));
        assert_eq!(parse(&long), Err(Status::HeadTooLarge));
    }
}
