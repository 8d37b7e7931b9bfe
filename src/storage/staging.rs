//! A directory that appears whole or not at all.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{parent, sync_directory, unfinished};
use crate::error::{Error, Result};

/// A directory beside its destination, removed with what is in it unless it was committed.
pub(crate) struct Staging {
    path: PathBuf,
    committed: bool,
    /// Holds its lock, where directories can be locked.
    _lock: Option<File>,
}

impl Staging {
    /// An empty directory beside `dir`.
    ///
    /// # Errors
    /// [`Error::Exists`] when `dir` exists, [`Error::Io`] when its parent cannot be written.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let (Some(_), Err(_)) = (dir.file_name(), fs::symlink_metadata(dir)) else {
            return Err(Error::Exists { path: dir.to_owned() });
        };
        unfinished::remove_abandoned(dir);
        let mut attempt = 0;
        loop {
            let path = hidden(dir, attempt);
            match fs::create_dir(&path) {
                Ok(()) => {
                    let lock = File::open(&path).ok();
                    if lock.as_ref().is_none_or(|lock| unfinished::claim(lock, &path)) {
                        return Ok(Self { path, committed: false, _lock: lock });
                    }
                }
                // Of a process of the same number, on a system without such locks.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Err(error) => return Err(Error::io(dir)(error)),
            }
        }
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its name `dir`, once it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Exists`] if the name was taken meanwhile.
    pub(crate) fn commit(mut self, dir: &Path) -> Result<()> {
        sync_directory(&self.path)?;
        fs::rename(&self.path, dir).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory => {
                Error::Exists { path: dir.to_owned() }
            }
            _ => Error::io(dir)(error),
        })?;
        self.committed = true;
        sync_directory(parent(dir))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // The error that led here matters more than one from tidying up.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes a directory so that it is never seen half-removed under its name.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove(dir: &Path) -> Result<()> {
    let hidden = hidden(dir, 0);
    fs::rename(dir, &hidden).and_then(|()| fs::remove_dir_all(&hidden)).map_err(Error::io(dir))
}

/// A path beside `dir` whose name says that what it names is not whole.
fn hidden(dir: &Path, attempt: u32) -> PathBuf {
    let mut name = unfinished::prefix(dir);
    name.push(format!("{}-{attempt}{}", std::process::id(), unfinished::SUFFIX));
    dir.with_file_name(name)
}

/// Removes what processes that were killed left in `parent`.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove_leftovers(parent: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(parent) else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(Error::io(parent))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".tmp")) {
            let is_directory = entry.file_type().map_err(Error::io(entry.path()))?.is_dir();
            let removed = if is_directory { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            removed.map_err(Error::io(entry.path()))?;
        }
    }
    Ok(())
}
