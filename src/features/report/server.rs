//! A server of one directory to browsers of this machine: what a report is too large or too private for otherwise.
//!
//! It listens on 127.0.0.1 alone, takes GET and HEAD, and refuses other hosts' names (which a page elsewhere may point
//! at this address) and other sites' requests.

mod request;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use request::{Request, Status};

/// Requests that are answered at a time; further ones are refused.
const CONNECTIONS: usize = 32;

/// For a request's head, and for each piece of an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Also in the page, as its meta element: nothing but the report's own files, and no code within the page.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A server that listens, and answers once it runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    directory: PathBuf,
    port: u16,
}

impl Server {
    /// Listens on `port` of 127.0.0.1, on any free one if it is 0, for requests of what is in `directory`.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read, [`Error::Config`] when the port is taken or not allowed.
    pub fn bind(directory: &Path, port: u16) -> Result<Self> {
        // What links lead out of is told from this.
        let directory = directory.canonicalize().map_err(Error::io(directory))?;
        let refused = |error: io::Error| {
            Error::Config(format!("port {port} of 127.0.0.1: {error}; choose another, or 0 for any"))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(refused)?;
        let port = listener.local_addr().map_err(refused)?.port();
        Ok(Self { listener, directory, port })
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Answers requests, each in a thread of its own, as long as the process lives.
    pub fn run(self) {
        let directory: Arc<Path> = self.directory.as_path().into();
        let open = Arc::new(AtomicUsize::new(0));
        for stream in self.listener.incoming() {
            let Ok(stream) = stream else {
                // Out of files, for instance: there may be some again.
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (directory, open, port) = (directory.clone(), open.clone(), self.port);
            thread::spawn(move || {
                // A browser that has gone is no error of ours.
                let _ = answer(stream, &directory, port);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

fn answer(mut stream: TcpStream, directory: &Path, port: u16) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = Request::read(&mut stream).and_then(|request| request.check(port).map(|()| request));
    let found = request.and_then(|request| {
        let (file, kind) = find(directory, &request.path)?;
        Ok((request, file, kind))
    });
    match found {
        Ok((request, file, kind)) => {
            let length = file.metadata()?.len();
            stream.write_all(head(Status::Ok, kind, length).as_bytes())?;
            if !request.is_head {
                // No more than was announced.
                io::copy(&mut file.take(length), &mut stream)?;
            }
        }
        Err(status) => {
            let text = format!("{}\n", status.text());
            stream.write_all(head(status, "text/plain; charset=utf-8", text.len() as u64).as_bytes())?;
            stream.write_all(text.as_bytes())?;
        }
    }
    stream.flush()
}

fn head(status: Status, kind: &str, length: u64) -> String {
    let allow = if status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    format!(
        "HTTP/1.1 {}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n{allow}\
         Content-Security-Policy: {CONTENT_SECURITY_POLICY}\r\nX-Content-Type-Options: nosniff\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\n\
         Referrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n\r\n",
        status.text()
    )
}

/// The file that a path names, and its type. What is no file of a report, or lies elsewhere, is not found.
fn find(directory: &Path, path: &str) -> std::result::Result<(File, &'static str), Status> {
    let name = request::file_name(path).ok_or(Status::NotFound)?;
    let kind = match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("js") => "text/javascript; charset=utf-8",
        _ => return Err(Status::NotFound),
    };
    let whole = directory.join(&name).canonicalize().map_err(|_| Status::NotFound)?;
    if !whole.starts_with(directory) || !whole.is_file() {
        return Err(Status::NotFound);
    }
    let file = File::open(whole).map_err(|_| Status::NotFound)?;
    Ok((file, kind))
}

#[cfg(test)]
mod tests;
