//! The bytes of a stream, as they come.

use std::fmt;
use std::io::{self, Read};

use super::message::{Content, PREFIX_BYTES, header_bytes, parse};
use crate::error::{Error, Result};

/// What messages call the stream.
pub(super) const NAME: &str = "standard input";

/// Bytes that are allocated before any of them came.
const FIRST_PIECE: usize = 1 << 20;

/// A pipe that is read from once.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    /// Bytes that were read.
    at: u64,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Input {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, at: 0 }
    }

    /// Number of bytes that were read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// What the next message holds, whose body follows, and the length of that; nothing at the marker of the end.
    /// `part` is what messages call it.
    pub(super) fn message(&mut self, part: &str) -> Result<Option<(Content, u64)>> {
        let offset = self.at;
        let explain = |problem: String| refuse(format!("the message at byte {offset} {problem}"));
        let mut bytes = Vec::new();
        self.read_into(PREFIX_BYTES as u64, &mut bytes, part)?;
        let prefix = bytes[..].try_into().unwrap_or([0; PREFIX_BYTES]);
        let Some(length) = header_bytes(prefix).map_err(explain)? else { return Ok(None) };
        bytes.clear();
        self.read_into(length as u64, &mut bytes, part)?;
        parse(&bytes).map(Some).map_err(explain)
    }

    /// Appends so many bytes.
    pub(super) fn read_into(&mut self, bytes: u64, out: &mut Vec<u8>, part: &str) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            // What was allocated is never more than twice what came.
            let piece = left.min(out.len().max(FIRST_PIECE) as u64);
            out.reserve_exact(piece as usize);
            let read = self.reader.by_ref().take(piece).read_to_end(out).map_err(Error::io(NAME))?;
            self.advance(read as u64, piece, part)?;
            left -= piece;
        }
        Ok(())
    }

    pub(super) fn skip(&mut self, bytes: u64, part: &str) -> Result<()> {
        let mut skipped = self.reader.by_ref().take(bytes);
        let read = io::copy(&mut skipped, &mut io::sink()).map_err(Error::io(NAME))?;
        self.advance(read, bytes, part)
    }

    fn advance(&mut self, read: u64, wanted: u64, part: &str) -> Result<()> {
        self.at += read;
        if read == wanted {
            return Ok(());
        }
        Err(refuse(format!(
            "the stream ended at byte {}, inside {part}: its writer failed, or did not close the stream \
             (writer.close()); see to that, and start again",
            self.at
        )))
    }

    /// Checks that the stream ends here.
    pub(super) fn check_end(&mut self) -> Result<()> {
        let mut next = Vec::new();
        self.reader.by_ref().take(1).read_to_end(&mut next).map_err(Error::io(NAME))?;
        if next.is_empty() {
            return Ok(());
        }
        Err(refuse(format!("has bytes behind the marker of its end, from byte {} on; send one stream", self.at)))
    }
}

/// The error of a stream.
pub(super) fn refuse(problem: impl Into<String>) -> Error {
    Error::data(NAME, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_does_not_come_is_not_allocated() {
        let mut input = Input::new(Box::new(io::repeat(7).take(3 << 20)));
        let mut out = Vec::new();
        let message = input.read_into(1 << 40, &mut out, "a part").unwrap_err().to_string();
        assert!(message.contains("ended at byte 3145728, inside a part"), "{message}");
        assert_eq!(out.len(), 3 << 20);
        assert!(out.capacity() <= 8 << 20, "{}", out.capacity());
    }
}
