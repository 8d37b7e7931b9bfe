//! Files that are read by path, of which few are open at a time.

use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::read_at::read_exact_at;
use crate::error::{Error, Result};

/// Keeps the files that were read last open.
#[derive(Debug)]
pub(crate) struct FilePool {
    most: usize,
    /// By number, the one that was read last at the end.
    open: Mutex<VecDeque<(u64, Arc<File>)>>,
}

/// A file that its pool may close, and opens again when it is read.
#[derive(Debug)]
pub(crate) struct PooledFile {
    pool: Arc<FilePool>,
    number: u64,
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
}

impl FilePool {
    /// At most so many files are open, beside those that are being read.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    fn find(&self, number: u64) -> Option<Arc<File>> {
        // What a panicking thread leaves is a list of open files all the same.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = open.iter().position(|(known, _)| *known == number).and_then(|place| open.remove(place))?;
        let file = entry.1.clone();
        open.push_back(entry);
        Some(file)
    }

    fn keep(&self, number: u64, file: Arc<File>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back((number, file));
        if open.len() > self.most {
            open.pop_front();
        }
    }
}

impl PooledFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened, [`Error::Data`] when it is not a regular file.
    pub(crate) fn open(path: &Path, pool: &Arc<FilePool>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (file, metadata) = open(path)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        pool.keep(number, Arc::new(file));
        let (size, modified) = (metadata.len(), metadata.modified().ok());
        Ok(Self { pool: pool.clone(), number, path: path.to_owned(), size, modified })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its size when it was opened first.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The open file.
    ///
    /// # Errors
    /// Those of [`Self::open`], and [`Error::Data`] when the file is not what was opened first.
    pub(crate) fn get(&self) -> Result<Arc<File>> {
        if let Some(file) = self.pool.find(self.number) {
            return Ok(file);
        }
        let (file, metadata) = open(&self.path)?;
        if metadata.len() != self.size || metadata.modified().ok() != self.modified {
            let problem = "changed since it was opened; leave the files as they are meanwhile, and start again";
            return Err(Error::data(&self.path, problem));
        }
        let file = Arc::new(file);
        self.pool.keep(self.number, file.clone());
        Ok(file)
    }

    /// Fills `out` with the bytes from `offset` on; `part` is what messages call them.
    ///
    /// # Errors
    /// Those of [`Self::get`], and [`Error::Data`] when the file has become shorter.
    pub(crate) fn read(&self, part: impl Display, offset: u64, out: &mut [u8]) -> Result<()> {
        read_exact_at(&*self.get()?, out, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                let problem =
                    format!("ends inside {part}: it was cut short after it was opened; restore it and start again");
                Error::data(&self.path, problem)
            }
            _ => Error::io(&self.path)(error),
        })
    }
}

fn open(path: &Path) -> Result<(File, Metadata)> {
    // Asked before opening, because opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Err(Error::data(path, "is not a regular file; give one"));
    }
    let file = File::open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    Ok((file, metadata))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    fn content(file: &PooledFile) -> String {
        let mut text = String::new();
        (&*file.get().unwrap()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_files_read_last_are_open() {
        let dir = tempfile::tempdir().unwrap();
        let pool = FilePool::new(2);
        let files = ["a", "b", "c"].map(|name| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            PooledFile::open(&path, &pool).unwrap()
        });
        let open = || pool.open.lock().unwrap().iter().map(|(number, _)| *number).collect::<Vec<_>>();
        let [a, b, c] = [0, 1, 2].map(|at: usize| files[at].number);
        assert_eq!(open(), [b, c]);
        assert_eq!(content(&files[0]), "a");
        assert_eq!(open(), [c, a]);
        assert_eq!(content(&files[2]), "c");
        assert_eq!(open(), [a, c]);
        assert_eq!(content(&files[1]), "b");
        assert_eq!(open(), [c, b]);
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let rewrite = |text: &str, modified: SystemTime| {
            fs::write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        };
        let (then, later) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        rewrite("first", then);
        let file = PooledFile::open(&path, &FilePool::new(0)).unwrap();
        assert_eq!(content(&file), "first");
        for (text, modified) in [("first", later), ("longer", then)] {
            rewrite(text, modified);
            let message = file.get().unwrap_err().to_string();
            assert!(message.contains("changed since it was opened"), "{message}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.get(), Err(Error::Io { .. })));
    }
}
