//! A directory that appears whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{parent, sync_directory};
use crate::error::{Error, Result};

/// A directory beside its destination, removed with what is in it unless it was committed.
pub(crate) struct Staging {
    path: PathBuf,
    parent: PathBuf,
    committed: bool,
}

impl Staging {
    /// An empty directory beside `dir`.
    ///
    /// # Errors
    /// [`Error::Exists`] when `dir` exists, [`Error::Io`] when its parent cannot be written.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let (Some(name), Err(_)) = (dir.file_name(), fs::symlink_metadata(dir)) else {
            return Err(Error::Exists { path: dir.to_owned() });
        };
        let parent = parent(dir).to_owned();
        let mut attempt = 0;
        loop {
            let path = parent.join(hidden(name, attempt));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, parent, committed: false }),
                // Left by a process of the same number that was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Err(error) => return Err(Error::io(&path)(error)),
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
    /// [`Error::Io`].
    pub(crate) fn commit(mut self, dir: &Path) -> Result<()> {
        sync_directory(&self.path)?;
        fs::rename(&self.path, dir).map_err(Error::io(dir))?;
        self.committed = true;
        sync_directory(&self.parent)
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
    let hidden = dir.with_file_name(hidden(dir.file_name().unwrap_or_default(), 0));
    fs::rename(dir, &hidden).and_then(|()| fs::remove_dir_all(&hidden)).map_err(Error::io(dir))
}

/// A name that says that what it names is not whole.
fn hidden(name: &OsStr, attempt: u32) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{attempt}.tmp", std::process::id()));
    hidden
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
