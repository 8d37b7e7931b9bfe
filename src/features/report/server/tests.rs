//! A server and its answers, over a socket.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

/// A server of a directory with a page, a script, and files that it must not give.
struct Served {
    directory: tempfile::TempDir,
    port: u16,
}

impl Served {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let report = directory.path().join("report");
        fs::create_dir_all(report.join("data")).unwrap();
        for (name, text) in [
            ("secret.js", "secret"),
            ("report/index.html", "<!doctype html>"),
            ("report/data/overview.js", "1;"),
            ("report/notes.txt", "notes"),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let server = Server::bind(&report, 0).unwrap();
        let port = server.address().port();
        assert!(server.address().ip().is_loopback());
        thread::spawn(|| server.run());
        Self { directory, port }
    }

    /// The answer to a request line, with the right host.
    fn answer(&self, request: &str) -> String {
        self.raw(&format!("{request} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", self.port))
    }

    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn files_of_the_report_are_served_with_their_headers() {
    let served = Served::new();
    let page = served.answer("GET /");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\n<!doctype html>"), "{page}");
    for header in [
        "Content-Type: text/html; charset=utf-8\r\n",
        "Content-Length: 15\r\n",
        "X-Content-Type-Options: nosniff\r\n",
        "Cross-Origin-Resource-Policy: same-origin\r\n",
        "Referrer-Policy: no-referrer\r\n",
    ] {
        assert!(page.contains(header), "{header}{page}");
    }
    assert!(page.contains(&format!("Content-Security-Policy: {CONTENT_SECURITY_POLICY}\r\n")), "{page}");
    assert!(!CONTENT_SECURITY_POLICY.contains("unsafe"));
    assert!(served.answer("GET /data/overview.js?x=1").ends_with("\r\n\r\n1;"));
    let head = served.answer("HEAD /data/overview.js");
    assert!(head.contains("Content-Length: 2\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn nothing_else_is_served() {
    let served = Served::new();
    for path in ["/notes.txt", "/data/", "/data", "/../secret.js", "/%2e%2e/secret.js", "/none.js", "secret.js", "*"] {
        let answer = served.answer(&format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("secret"), "{path}: {answer}");
    }
    let refused = served.answer("POST /");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("Allow: GET, HEAD\r\n"), "{refused}");
    let evil = served.raw("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(evil.starts_with("HTTP/1.1 421 ") && !evil.contains("doctype"), "{evil}");
    assert!(served.raw("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

#[cfg(unix)]
#[test]
fn links_lead_nowhere_outside() {
    use std::os::unix::fs::symlink;
    let served = Served::new();
    let report = served.directory.path().join("report");
    symlink("../secret.js", report.join("out.js")).unwrap();
    symlink("..", report.join("up")).unwrap();
    symlink("data/overview.js", report.join("in.js")).unwrap();
    assert!(served.answer("GET /out.js").starts_with("HTTP/1.1 404 "));
    assert!(served.answer("GET /up/secret.js").starts_with("HTTP/1.1 404 "));
    assert!(served.answer("GET /in.js").ends_with("\r\n\r\n1;"));
}

#[test]
fn a_taken_port_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::bind(directory.path(), 0).unwrap();
    let Err(Error::Config(problem)) = Server::bind(directory.path(), first.address().port()) else { panic!() };
    assert!(problem.contains(&format!("port {}", first.address().port())), "{problem}");
}
