//! Statistics kept beside the data, so that they are read once.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DataStatistics;
use crate::data::{Activations, FileIdentity, first_difference};
use crate::error::{Error, Result};
use crate::storage::replace_file;

/// The form of the file; a change of what the statistics mean raises it.
const FORMAT: u32 = 1;

/// A file of statistics is not larger: 2^20 dimensions take about 20 MiB.
const MAX_BYTES: u64 = 64 << 20;

/// Statistics and the files that they are of.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    files: Vec<FileIdentity>,
    statistics: DataStatistics,
}

impl DataStatistics {
    /// Where the statistics of the data at `path` are kept: `statistics.json` in a directory, `FILE.statistics.json`
    /// beside a file.
    pub fn path_beside(path: &Path) -> PathBuf {
        if path.is_dir() {
            return path.join("statistics.json");
        }
        let mut name = OsString::from(path);
        name.push(".statistics.json");
        name.into()
    }

    /// Keeps the statistics of `data`, which were opened from `path` alone; where they are.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_beside(&self, path: &Path, data: &Activations) -> Result<PathBuf> {
        let kept = Kept { format: FORMAT, files: data.identity()?, statistics: self.clone() };
        let path = Self::path_beside(path);
        // Numbers and texts have a JSON.
        let json = serde_json::to_string_pretty(&kept).unwrap_or_default();
        replace_file(&path, json.as_bytes())?;
        Ok(path)
    }

    /// The statistics that are kept of `data`, which were opened from `path` alone; nothing if there are none, or if
    /// they are of other files ([`Activations::identity`]). What cannot be read is as nothing, with a warning.
    ///
    /// # Errors
    /// Those of the data's files.
    pub fn read_beside(path: &Path, data: &Activations) -> Result<Option<Self>> {
        let path = Self::path_beside(path);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let kept = match read(&path) {
            Ok(kept) => kept,
            Err(error) => {
                log::warn!("{error}; the statistics are computed again");
                return Ok(None);
            }
        };
        let is_of_data = first_difference(&kept.files, &data.identity()?).is_none();
        Ok(is_of_data.then_some(kept.statistics).filter(|statistics| statistics.mean.len() == data.width()))
    }
}

fn read(path: &Path) -> Result<Kept> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    if !file.metadata().map_err(Error::io(path))?.is_file() {
        return Err(Error::data(path, "is not a regular file"));
    }
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(Error::io(path))?;
    match serde_json::from_slice::<Kept>(&text) {
        Ok(kept) if kept.format == FORMAT => Ok(kept),
        Ok(_) => Err(Error::data(path, "is of another version of monosem")),
        Err(_) => Err(Error::data(path, "is damaged")),
    }
}
