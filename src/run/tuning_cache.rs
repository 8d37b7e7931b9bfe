//! The fastest kernels as they were measured, kept from one process to the next in the user's cache directory.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoint::Marks;
use super::events::{Event, Listener};
use crate::engine::select::{Screening, Tuning};
use crate::error::{Error, Result};
use crate::gpu::AdapterDescription;
use crate::sae::SaeConfig;
use crate::storage;

/// More entries than anybody measures, few enough to be read at each start.
const MAX_ENTRIES: usize = 1000;

/// The circumstances that a measurement holds for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Key {
    adapter: String,
    backend: String,
    driver: String,
    #[serde(default)]
    unchecked: bool,
    #[serde(default)]
    as_gpu: bool,
    #[serde(flatten)]
    marks: Marks,
    d: usize,
    features: usize,
    k: usize,
    batch: usize,
    screening: String,
}

/// The names of a [`Tuning`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Names {
    pub encode: String,
    pub selection: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    names: Names,
}

impl Key {
    pub fn new(adapter: &AdapterDescription, config: &SaeConfig, batch: usize, screening: Screening) -> Self {
        Self {
            adapter: adapter.name.clone(),
            backend: adapter.backend.to_owned(),
            driver: adapter.driver.clone(),
            unchecked: adapter.unchecked,
            as_gpu: adapter.as_gpu,
            marks: Marks::current(),
            d: config.d_in,
            features: config.features,
            k: config.usual_l0(),
            batch,
            screening: format!("{screening:?}").to_lowercase(),
        }
    }
}

/// The cache's file, and what it held when it was opened. A problem with it is an event, never an error.
pub(super) struct TuningCache {
    path: Option<PathBuf>,
    entries: Vec<Entry>,
}

impl TuningCache {
    /// The user's, or an empty one.
    pub fn open(events: &mut Listener<'_>) -> Result<Self> {
        let path = storage::cache_directory().map(|directory| directory.join("tuning.json"));
        let Some(path) = path else { return Ok(Self { path: None, entries: Vec::new() }) };
        let mut complain = |problem: &str| events(&Event::TuningCacheUnusable { path: &path, problem });
        match read(&path) {
            Ok(entries) => Ok(Self { path: Some(path), entries }),
            Err(ReadError::Damaged(problem)) => {
                complain(&format!("is damaged ({problem}) and not used"))?;
                Ok(Self { path: Some(path), entries: Vec::new() })
            }
            Err(ReadError::Io(error)) => {
                complain(&format!("{error}; measurements are not kept"))?;
                Ok(Self { path: None, entries: Vec::new() })
            }
        }
    }

    /// The kernels that were measured, by name.
    pub fn get(&self, key: &Key) -> Option<&Names> {
        self.entries.iter().rfind(|entry| entry.key == *key).map(|entry| &entry.names)
    }

    /// Keeps what was measured, beside what other processes have written meanwhile.
    pub fn insert(&self, key: Key, tuning: Tuning, events: &mut Listener<'_>) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        // One that is damaged is replaced.
        let mut entries = read(path).unwrap_or_default();
        entries.retain(|entry| entry.key != key);
        entries.drain(..(entries.len() + 1).saturating_sub(MAX_ENTRIES));
        let names = Names { encode: tuning.encode.to_string(), selection: tuning.method.to_string() };
        entries.push(Entry { key, names });
        match write(path, &entries) {
            Ok(()) => Ok(()),
            Err(error) => {
                let reason = match error {
                    // The event names the file.
                    Error::Io { source, .. } => source.to_string(),
                    other => other.to_string(),
                };
                let problem = format!("{reason}; measurements are not kept");
                events(&Event::TuningCacheUnusable { path, problem: &problem })
            }
        }
    }
}

enum ReadError {
    Damaged(serde_json::Error),
    Io(std::io::Error),
}

fn read(path: &Path) -> std::result::Result<Vec<Entry>, ReadError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(ReadError::Damaged),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(ReadError::Io(error)),
    }
}

fn write(path: &Path, entries: &[Entry]) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(entries).map_err(|error| Error::io(path)(error.into()))?;
    text.push(b'\n');
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(Error::io(directory))?;
    }
    storage::replace_file(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_takes_other_kernels_or_checks_otherwise_is_measured_for_itself() {
        let adapter = AdapterDescription { name: "a GPU".into(), kind: "software", ..Default::default() };
        let key = |adapter: &AdapterDescription| Key::new(adapter, &SaeConfig::top_k(8, 64, 4), 16, Screening::Auto);
        assert_eq!(key(&adapter), key(&adapter.clone()));
        for other in [
            AdapterDescription { as_gpu: true, ..adapter.clone() },
            AdapterDescription { unchecked: true, ..adapter.clone() },
            AdapterDescription { driver: "another".into(), ..adapter.clone() },
        ] {
            assert_ne!(key(&other), key(&adapter));
        }
    }
}
