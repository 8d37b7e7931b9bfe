//! Checksums of what lies on a disk: XXH3, 64 bits, in hexadecimal.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};

/// The checksum of bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Checksum(Xxh3);

impl Checksum {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far, 16 hexadecimal digits.
    pub fn digest(&self) -> String {
        format!("{:016x}", self.0.digest())
    }
}

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The checksum of some bytes.
pub fn checksum(bytes: &[u8]) -> String {
    let mut checksum = Checksum::default();
    checksum.update(bytes);
    checksum.digest()
}

/// The checksum of a file.
///
/// # Errors
/// [`Error::Io`].
pub fn checksum_file(path: &Path) -> Result<String> {
    let mut checksum = Checksum::default();
    let mut file = File::open(path).map_err(Error::io(path))?;
    io::copy(&mut file, &mut checksum).map_err(Error::io(path))?;
    Ok(checksum.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_files_have_the_checksum_of_their_bytes() {
        let mut pieces = Checksum::default();
        [&b"act"[..], b"ivations"].iter().for_each(|piece| pieces.update(piece));
        assert_eq!(pieces.digest(), checksum(b"activations"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(matches!(checksum_file(&path), Err(Error::Io { .. })));
        std::fs::write(&path, "activations").unwrap();
        assert_eq!(checksum_file(&path).unwrap(), checksum(b"activations"));
        // XXH3 of nothing, by its reference implementation.
        assert_eq!(checksum(b""), "2d06800538d394c2");
    }
}
