//! The directory that a run leaves: created late, and removed if the run never takes a step.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::storage;

const CONFIG: &str = "config.toml";
const RECORD: &str = "run.json";
/// Name of the directory of a run's checkpoints.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// Fails if a run could not be created in `path`, which must not exist or be empty: before anything costly begins.
///
/// # Errors
/// [`Error::Config`] when it is not empty, [`Error::Io`] when it is no directory or cannot be read.
pub fn check_new(path: &Path) -> Result<()> {
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(Error::Config(format!(
                "{} is not empty: name a new directory",
                path.to_string_lossy().escape_debug()
            ))),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let words = "is a file, or below one: name a new directory";
            Err(Error::io(path)(std::io::Error::new(ErrorKind::NotADirectory, words)))
        }
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// Whether there is a run in `path`, finished or not.
///
/// # Errors
/// [`Error::Io`] when the directory cannot be read.
pub fn exists(path: &Path) -> Result<bool> {
    // A file in the place of the directory is reported where a new one is made.
    let has_config = fs::exists(path.join(CONFIG)).unwrap_or(false);
    let has_record = || matches!(read_record(path), Ok(Some(record)) if record["state"].is_string());
    Ok(has_config || has_record() || is_barely_begun(path)?)
}

/// Whether the run in `path` is done: its last step is taken and its SAE saved.
///
/// # Errors
/// [`Error::Io`] when that cannot be read, [`Error::Data`] when its record is damaged.
pub fn is_done(path: &Path) -> Result<bool> {
    Ok(read_record(path)?.is_some_and(|record| record["state"] == "done"))
}

/// run.json; a run that was killed early has none.
fn read_record(path: &Path) -> Result<Option<Value>> {
    let path = path.join(RECORD);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io(&path))?,
    };
    let record = serde_json::from_slice(&text);
    record.map(Some).map_err(|error| Error::data(&path, format!("{error}; remove the file if the run is not done")))
}

/// A run that was killed in `path` before it could write down what it was to be.
fn is_barely_begun(path: &Path) -> Result<bool> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(false) };
    let mut begun = false;
    for entry in entries {
        let entry = entry.map_err(Error::io(path))?;
        let is_first = match entry.file_name().to_str() {
            Some("metrics.jsonl") => entry.metadata().is_ok_and(|file| file.len() == 0),
            Some(name) => is_leftover(name),
            None => false,
        };
        if !is_first {
            return Ok(false);
        }
        begun = true;
    }
    Ok(begun)
}

/// A file that a process was killed in the middle of writing ([`storage::WholeFile`]).
fn is_leftover(name: &str) -> bool {
    let begins = |file: &str| name.strip_prefix('.').is_some_and(|name| name.starts_with(file));
    (begins(CONFIG) || begins(RECORD)) && name.ends_with(".tmp")
}

/// A run directory. Until [`RunDirectory::keep`], dropping it removes all that it created, and nothing else.
pub(super) struct RunDirectory {
    path: PathBuf,
    /// Directories and files, each after the directory it is in.
    made: Vec<PathBuf>,
    kept: bool,
}

impl RunDirectory {
    /// Creates `path`, and the directories above it that are missing.
    ///
    /// # Errors
    /// As [`check_new`].
    pub fn create(path: &Path) -> Result<Self> {
        check_new(path)?;
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

    /// The directory of a run that resumes.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), made: Vec::new(), kept: true }
    }

    /// Path of `name` in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates the new file `name`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_file(&mut self, name: &str) -> Result<File> {
        let path = self.join(name);
        let file = File::create_new(&path).map_err(Error::io(&path))?;
        self.made.push(path);
        Ok(file)
    }

    /// Creates the directory `name` if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_directory(&mut self, name: &str) -> Result<()> {
        let path = self.join(name);
        match fs::create_dir(&path) {
            Ok(()) => self.made.push(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(path)(error)),
        }
        Ok(())
    }

    /// Replaces config.toml.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_config(&mut self, text: &str) -> Result<()> {
        self.replace_file(CONFIG, text.as_bytes())
    }

    /// Replaces run.json.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_record(&mut self, text: &str) -> Result<()> {
        self.replace_file(RECORD, text.as_bytes())
    }

    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.join(name);
        storage::replace_file(&path, bytes)?;
        if !self.made.contains(&path) {
            self.made.push(path);
        }
        Ok(())
    }

    /// Removes what a process that was killed left half-written. Nobody else may be writing to the directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_leftovers(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path).map_err(Error::io(&self.path))? {
            let entry = entry.map_err(Error::io(&self.path))?;
            if entry.file_name().to_str().is_some_and(is_leftover) {
                fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
            }
        }
        Ok(())
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
