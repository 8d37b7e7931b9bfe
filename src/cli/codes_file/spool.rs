//! Bytes that wait until it is known where they belong.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use monosem::{Error, Result};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// A file without a name, on the disk of another, which is gone when it is dropped or the process ends.
pub struct Spool {
    file: BufWriter<File>,
    /// The other, which errors name.
    path: PathBuf,
}

impl Spool {
    /// An empty one, beside the file at `path`.
    pub fn beside(path: &Path) -> Result<Self> {
        let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let file = tempfile::tempfile_in(directory).map_err(Error::io(path))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned() })
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io(&self.path))
    }

    /// Gives all bytes in order, some at a time.
    pub fn read(self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Self { file, path } = self;
        let mut file = file.into_inner().map_err(|error| Error::io(&path)(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::io(&path))?;
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece).map_err(Error::io(&path))? {
                0 => return Ok(()),
                count => take(&piece[..count])?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_in_order_and_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::beside(&directory.path().join("out")).unwrap();
        let bytes: Vec<u8> = (0..3 * PIECE + 5).map(|at| (at % 251) as u8).collect();
        bytes.chunks(777).for_each(|bytes| spool.write(bytes).unwrap());
        let mut read = Vec::new();
        spool
            .read(|bytes| {
                read.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        assert!(read == bytes);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
