//! A file that a run appends to, and that a full disk neither tears nor stops the run for.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};

/// A file of records, each there as a whole or not yet.
pub(super) struct AppendFile<T> {
    pub file: File,
    pub path: PathBuf,
    /// Bytes in the file.
    pub bytes: u64,
    /// Records that the file system has refused so far.
    pub unwritten: Vec<T>,
}

impl<T: AsRef<[u8]>> AppendFile<T> {
    /// A file with nothing in it yet, or one that is to be [rewound](AppendFile::rewind).
    pub fn new(file: File, path: PathBuf) -> Self {
        Self { file, path, bytes: 0, unwritten: Vec::new() }
    }

    /// Discards what was written after the first `bytes`, and appends the records that could not be written then.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rewind(&mut self, bytes: u64, unwritten: Vec<T>) -> Result<()> {
        let length = self.file.metadata().map_err(Error::io(&self.path))?.len();
        self.bytes = bytes.min(length);
        let rewound = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
        rewound.map_err(Error::io(&self.path))?;
        self.unwritten = unwritten;
        self.flush()
    }

    /// Appends a record. One that cannot be written is kept, and written before the next.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, record: T) -> Result<()> {
        self.unwritten.push(record);
        self.flush()
    }

    /// Writes the records that could not be written before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        // In one write, so that whoever follows the file sees whole records.
        let records: Vec<u8> = self.unwritten.iter().flat_map(AsRef::as_ref).copied().collect();
        if let Err(error) = self.file.write_all(&records) {
            // A part of a record must not stay. Where that cannot be had either, a resume cuts it off.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            return Err(Error::io(&self.path)(error));
        }
        self.bytes += records.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_cannot_be_written_are_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let writable = File::create_new(&path).unwrap();
        let mut appended = AppendFile::new(writable.try_clone().unwrap(), path.clone());
        appended.append("one\n".to_owned()).unwrap();
        appended.file = File::open(&path).unwrap();
        for record in ["two\n", "three\n"] {
            assert!(matches!(appended.append(record.to_owned()), Err(Error::Io { .. })));
        }
        assert_eq!((appended.bytes, appended.unwritten.len()), (4, 2));

        // In the process that had them, or in the one that resumes.
        let (bytes, unwritten) = (appended.bytes, appended.unwritten.clone());
        appended.file = writable;
        appended.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        appended.rewind(bytes, unwritten).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        assert_eq!((appended.bytes, appended.unwritten.len()), (14, 0));
    }
}
