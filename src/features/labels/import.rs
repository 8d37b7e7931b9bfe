//! Labels that come back, checked, into a set.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::label::{LABELS, read};
use crate::error::{Error, Result};
use crate::features::reader::FeatureSet;
use crate::features::set::DESCRIPTION;
use crate::storage::{WholeFile, replace_file};

/// What an import did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Labels that were given.
    pub given: usize,
    /// Labels of other features, which stay.
    pub kept: usize,
    /// Labels that were there and are replaced.
    pub replaced: usize,
}

/// Reads labels, a line of JSON each, into the set in a directory: `feature`, `label`, and if they are there `score`,
/// from 0 to 1, or `ratings`, whose mean as a share of the highest is the score, and `source`. They replace those that
/// the set has of the same features; others stay. All are taken or none.
///
/// # Errors
/// [`Error::Data`] naming the line of a label that cannot be taken, or if the set is damaged; [`Error::Io`].
pub fn import(directory: &Path, labels: &Path) -> Result<Imported> {
    let FeatureSet { features, labels: mut all, .. } = FeatureSet::open(directory)?;
    let path = directory.join(LABELS);
    let before = all.len();
    let given = read(labels, features as u64).map_err(nothing_imported)?;
    let count = given.len();
    all.extend(given);
    let kept = all.len() - count;
    let mut file = WholeFile::create(&path)?;
    let mut text = Vec::new();
    for label in all.values() {
        serde_json::to_writer(&mut text, label).map_err(|error| Error::io(&path)(error.into()))?;
        text.push(b'\n');
    }
    file.write_all(&text).map_err(Error::io(&path))?;
    file.commit()?;
    say_so(&directory.join(DESCRIPTION))?;
    Ok(Imported { given: count, kept, replaced: before - kept })
}

fn nothing_imported(error: Error) -> Error {
    match error {
        Error::Data { path, problem } => Error::data(path, format!("{problem}; nothing was imported")),
        other => other,
    }
}

/// Notes in the set's description that it has labels.
fn say_so(path: &Path) -> Result<()> {
    let text = fs::read(path).map_err(Error::io(path))?;
    let unreadable = |error: serde_json::Error| Error::data(path, error.to_string().escape_debug().to_string());
    let mut description: Value = serde_json::from_slice(&text).map_err(unreadable)?;
    if description["has"]["labels"] == Value::Bool(true) {
        return Ok(());
    }
    description["has"]["labels"] = true.into();
    replace_file(path, format!("{description:#}\n").as_bytes())
}
