//! The directory that a training run leaves: made late, and unmade if the run never starts.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use monosem::{Error, Result};

/// A run directory. Until [`RunDirectory::keep`], dropping it removes all that it made, and nothing else.
pub struct RunDirectory {
    path: PathBuf,
    /// Directories and files, each after the directory it is in.
    made: Vec<PathBuf>,
    kept: bool,
}

impl RunDirectory {
    /// Fails if `path` could not become a run directory: before anything costly begins.
    ///
    /// # Errors
    /// [`Error::Config`] when it holds something, [`Error::Io`] when it is no directory or cannot be read.
    pub fn check(path: &Path) -> Result<()> {
        match fs::read_dir(path) {
            Ok(mut entries) => match entries.next() {
                Some(_) => Err(Error::Config(format!(
                    "--out {} is not empty: name a new directory",
                    path.to_string_lossy().escape_debug()
                ))),
                None => Ok(()),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                let words = "is a file, or below one: name a new directory with --out";
                Err(Error::io(path)(std::io::Error::new(ErrorKind::NotADirectory, words)))
            }
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    /// Whether a run was killed in `path` before it could write down what it was to be.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read.
    pub fn is_barely_begun(path: &Path) -> Result<bool> {
        let Ok(entries) = fs::read_dir(path) else { return Ok(false) };
        let mut begun = false;
        for entry in entries {
            let entry = entry.map_err(Error::io(path))?;
            let is_first = match entry.file_name().to_str() {
                Some("metrics.jsonl") => entry.metadata().is_ok_and(|file| file.len() == 0),
                Some(".config.toml.tmp") => true,
                _ => false,
            };
            if !is_first {
                return Ok(false);
            }
            begun = true;
        }
        Ok(begun)
    }

    /// Makes `path`, and the directories above it that are missing.
    ///
    /// # Errors
    /// As [`RunDirectory::check`].
    pub fn create(path: &Path) -> Result<Self> {
        Self::check(path)?;
        let mut directory = Self { path: path.to_owned(), made: Vec::new(), kept: false };
        let missing: Vec<_> = path.ancestors().take_while(|path| *path != Path::new("") && !path.exists()).collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => directory.made.push(path.to_owned()),
                // As in `new/..`, or made meanwhile by somebody else, whose it stays.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
        Ok(directory)
    }

    /// The directory of a run that goes on.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), made: Vec::new(), kept: true }
    }

    /// Path of `name` in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the new file `name`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_file(&mut self, name: &str) -> Result<File> {
        let path = self.join(name);
        let file = File::create_new(&path).map_err(Error::io(&path))?;
        self.made.push(path);
        Ok(file)
    }

    /// Gives the file `name` these bytes, all or none: whoever reads it sees the old ones or the new.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn replace_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, temporary) = (self.join(name), self.join(&format!(".{name}.tmp")));
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            // The error that led here matters more than one from tidying up.
            let _ = fs::remove_file(&temporary);
        } else if !self.made.contains(&path) {
            self.made.push(path.clone());
        }
        written.map_err(Error::io(&path))
    }

    /// From here on there is something worth keeping.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        for path in self.made.iter().rev().filter(|_| !self.kept) {
            // A directory that somebody else has put something into stays.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}
