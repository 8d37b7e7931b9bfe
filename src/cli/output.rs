//! Where words go: results to stdout, the rest to stderr.

use std::io::Write;
use std::path::Path;

use monosem::{Error, Result};

/// A line for people, on stderr; a closed stderr is no reason to stop.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line of results, on stdout. A reader that has gone is no error.
pub fn print(line: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io(Path::new("stdout"))(error)),
        _ => Ok(()),
    }
}
