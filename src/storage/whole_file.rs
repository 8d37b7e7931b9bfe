//! A file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::{parent, sync_directory, unfinished};
use crate::error::{Error, Result};

/// A file that gets its name only when all of it is on the disk. Until then it lies beside it under a hidden name;
/// dropped before it is committed, it leaves nothing behind, and what a killed process leaves is removed by the next
/// that begins the same file.
#[derive(Debug)]
pub struct WholeFile {
    file: NamedTempFile,
    path: PathBuf,
    replaces: bool,
}

impl WholeFile {
    /// Begins the file `path`, which will replace what has that name.
    ///
    /// # Errors
    /// [`Error::Io`] when its directory cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        Self::begin(path, true)
    }

    /// Begins the new file `path`.
    ///
    /// # Errors
    /// [`Error::Exists`] when something has that name, [`Error::Io`] when its directory cannot be written.
    pub fn create_new(path: &Path) -> Result<Self> {
        match (fs::symlink_metadata(path), path.file_name()) {
            (Ok(_), _) => Err(Error::Exists { path: path.to_owned() }),
            (Err(_), Some(_)) => Self::begin(path, false),
            (Err(error), None) => Err(Error::io(path)(error)),
        }
    }

    fn begin(path: &Path, replaces: bool) -> Result<Self> {
        unfinished::remove_abandoned(path);
        let prefix = unfinished::prefix(path);
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(unfinished::SUFFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any new file: the process's umask decides.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        loop {
            let file = builder.tempfile_in(parent(path)).map_err(Error::io(path))?;
            if unfinished::claim(file.as_file(), file.path()) {
                return Ok(Self { file, path: path.to_owned(), replaces });
            }
        }
    }

    /// The name that it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content so far.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Exists`] for a new file whose name was taken meanwhile: what has the name is still
    /// there.
    pub fn commit(self) -> Result<()> {
        let Self { file, path, replaces } = self;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        let named = if replaces { file.persist(&path) } else { file.persist_noclobber(&path) };
        named.map_err(|error| match error.error.kind() {
            ErrorKind::AlreadyExists if !replaces => Error::Exists { path: path.clone() },
            _ => Error::io(&path)(error.error),
        })?;
        sync_directory(parent(&path))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

/// Gives the file `path` these bytes: whoever reads it sees the old ones or the new, and never a part of them.
///
/// # Errors
/// [`Error::Io`]: the file is then as it was.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace_file(&path, b"first").unwrap();
        let mut second = WholeFile::create(&path).unwrap();
        second.write_all(b"half").unwrap();
        assert_eq!((second.path(), fs::read(&path).unwrap()), (&*path, b"first".to_vec()));
        drop(second);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        replace_file(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let Err(Error::Io { path: named, .. }) = replace_file(&path.join("below"), b"") else { panic!() };
        assert_eq!(named, path.join("below"));
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let [mut first, second] = [0; 2].map(|_| WholeFile::create_new(&path).unwrap());
        first.write_all(b"first").unwrap();
        first.commit().unwrap();
        for refused in [second.commit(), WholeFile::create_new(&path).map(drop)] {
            assert!(matches!(refused, Err(Error::Exists { path: named }) if named == path));
        }
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let below = WholeFile::create_new(&path.join("below"));
        assert!(matches!(below, Err(Error::Io { .. })), "{below:?}");
    }

    #[test]
    fn what_a_killed_process_left_is_removed_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let names = || {
            let entries = fs::read_dir(directory.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        // Closed without being removed, as by a process's end.
        let leftovers = ["file", "file", "other"].map(|name| WholeFile::create(&path(name)).unwrap().file);
        let abandoned = leftovers.map(|file| file.keep().unwrap().1.file_name().unwrap().to_owned());
        let alive = WholeFile::create(&path("file")).unwrap();
        for user in [".file.monosem", ".file.tmp", ".file"] {
            fs::write(path(user), "kept").unwrap();
        }
        replace_file(&path("file"), b"").unwrap();
        let alive_name = alive.file.path().file_name().unwrap().to_str().unwrap();
        let mut expected = [".file", ".file.monosem", ".file.tmp", alive_name, abandoned[2].to_str().unwrap(), "file"];
        expected.sort();
        assert_eq!(names(), expected);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_permissions_of_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let [ours, other] = ["ours", "other"].map(|name| directory.path().join(name));
        replace_file(&ours, b"").unwrap();
        fs::write(&other, "").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&other));
    }
}
