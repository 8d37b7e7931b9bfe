//! Which rows are left out by their values, kept from one process to the next: finding them reads all data.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::unusual_rows::UnusualRows;
use super::{Activations, FileIdentity, RowFilter};
use crate::error::{Error, Result};
use crate::storage::{checksum, replace_file};

/// Data sets and limits that are remembered, the newest.
const MAX_ENTRIES: usize = 100;

/// What the rows were found by: another number forgets all of them.
const RULE: u32 = 2;

/// The circumstances that rows are remembered for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    rule: u32,
    max_norm: Option<f64>,
    skip_bad: bool,
    files: Vec<FileKey>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileKey {
    /// Without its path.
    identity: FileIdentity,
    /// When it was last written, in nanoseconds: its identity tells not every change of a value.
    modified: u64,
}

#[derive(Deserialize)]
struct Entry {
    key: Key,
    rows: UnusualRows,
}

#[derive(Serialize)]
struct NewEntry<'a> {
    key: &'a Key,
    rows: &'a UnusualRows,
}

/// A place in the cache for some data and a limit.
pub(super) struct NormCache {
    path: PathBuf,
    key: Key,
    /// Rows of all files.
    count: u64,
}

impl NormCache {
    /// The place in the directory `cache`.
    ///
    /// # Errors
    /// Those of the data's files.
    pub fn new(cache: &Path, data: &Activations, filter: &RowFilter) -> Result<Self> {
        let files = data.identity()?.into_iter().map(|identity| {
            let modified = fs::metadata(&identity.path).and_then(|file| file.modified());
            let modified = modified.map_err(Error::io(&identity.path))?.duration_since(UNIX_EPOCH);
            // Files of times before 1970 or after 2554 are told apart by their identities alone.
            let modified = modified.ok().and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0);
            Ok(FileKey { identity: FileIdentity { path: PathBuf::new(), ..identity }, modified })
        });
        let RowFilter { max_norm, skip_bad, .. } = *filter;
        let key = Key { rule: RULE, max_norm, skip_bad, files: files.collect::<Result<_>>()? };
        // Numbers, names and checksums make JSON.
        let name = checksum(&serde_json::to_vec(&key).unwrap_or_default());
        Ok(Self { path: cache.join("norms").join(name + ".json"), key, count: data.rows() })
    }

    /// The rows, if they are remembered; otherwise perhaps a problem with the cache.
    pub fn get(&self) -> (Option<UnusualRows>, Option<String>) {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return (None, None),
            Err(error) => return (None, Some(self.problem(&error.to_string()))),
        };
        match serde_json::from_slice::<Entry>(&bytes) {
            Ok(Entry { key, rows }) if key == self.key && self.are_sound(&rows) => (Some(rows), None),
            Ok(_) => (None, Some(self.problem("is of other data or damaged, and not used"))),
            Err(error) => (None, Some(self.problem(&format!("is damaged ({error}) and not used")))),
        }
    }

    fn are_sound(&self, rows: &UnusualRows) -> bool {
        [&rows.too_large, &rows.not_finite]
            .into_iter()
            .all(|rows| rows.is_sorted_by(|row, next| row < next) && rows.last().is_none_or(|&last| last < self.count))
    }

    /// Remembers the rows; otherwise the problem.
    pub fn insert(self, rows: &UnusualRows) -> Option<String> {
        let entry = NewEntry { key: &self.key, rows };
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let written = serde_json::to_vec(&entry).map_err(|error| Error::io(&self.path)(error.into()));
        let written = written.and_then(|json| {
            fs::create_dir_all(directory).map_err(Error::io(directory))?;
            replace_file(&self.path, &json)
        });
        remove_oldest(directory);
        written.err().map(|error| format!("{error}; the norms of all rows are computed again next time"))
    }

    fn problem(&self, problem: &str) -> String {
        format!("{}: {problem}", self.path.to_string_lossy().escape_debug())
    }
}

/// Keeps the newest entries. What cannot be removed stays.
fn remove_oldest(directory: &Path) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    entries.sort();
    for (_, path) in &entries[..entries.len().saturating_sub(MAX_ENTRIES)] {
        let _ = fs::remove_file(path);
    }
}
