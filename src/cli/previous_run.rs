//! A run that `--resume` finds in its directory.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use monosem::{Error, Result};
use serde_json::Value;

/// A directory with a run's `config.toml`.
pub struct PreviousRun {
    path: PathBuf,
}

impl PreviousRun {
    /// The run in `path`, if there is one.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        let run = Self { path: path.to_owned() };
        match fs::exists(run.config()) {
            Ok(found) => Ok(found.then_some(run)),
            // As a file in the place of the directory, which is told of where a new one is made.
            Err(_) => Ok(None),
        }
    }

    /// Its resolved settings.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Whether it ended as it should; one that was killed before it could write its record did not.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be read, [`Error::Data`] when it is damaged.
    pub fn is_done(&self) -> Result<bool> {
        let path = self.path.join("run.json");
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            other => other.map_err(Error::io(&path))?,
        };
        let record: Value = serde_json::from_reader(file)
            .map_err(|error| Error::data(&path, format!("{error}; remove the file if the run is not done")))?;
        Ok(record["state"] == "done")
    }
}
