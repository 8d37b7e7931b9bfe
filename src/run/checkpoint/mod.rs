//! Checkpoints: a directory with all that a run needs to continue as if it had never stopped.
//!
//! `state.safetensors` has the tensors of [`state_tensors`](crate::engine::state::state_tensors), `manifest.json` the
//! rest and a checksum of every tensor. The directory appears under its name, `step-N`, only when all of it is on the
//! disk.

mod manifest;
mod policy;
mod reader;
mod weights;
mod writer;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use manifest::{Manifest, Marks};
pub(super) use policy::Checkpoints;
pub use policy::{CheckpointPolicy, Every, is_damage};
pub use reader::{Reader, verify};
pub use weights::CheckpointWeights;
pub use writer::Writer;

use crate::error::{Error, Result};
use crate::storage::staging;

const MANIFEST: &str = "manifest.json";
const STATE: &str = "state.safetensors";

/// The checkpoint after `step` steps in `directory`.
pub fn path(directory: &Path, step: u64) -> PathBuf {
    directory.join(format!("step-{step}"))
}

/// The checkpoints in `directory`, the oldest first; none if it does not exist.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io(directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(directory))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("step-")).and_then(|number| number.parse().ok());
        // Other spellings of a number are other people's.
        found.extend(number.map(|step| (step, path(directory, step))).filter(|(_, path)| *path == entry.path()));
    }
    found.sort();
    Ok(found)
}

/// Removes all but the newest `keep` checkpoints in `directory`, and what interrupted runs left half-written there.
/// Nobody else may be writing to it.
///
/// # Errors
/// [`Error::Io`].
pub fn prune(directory: &Path, keep: usize) -> Result<()> {
    let checkpoints = list(directory)?;
    for (_, path) in &checkpoints[..checkpoints.len().saturating_sub(keep)] {
        remove(path)?;
    }
    staging::remove_leftovers(directory)
}

/// Removes the checkpoint at `path`.
///
/// # Errors
/// [`Error::Io`].
pub fn remove(path: &Path) -> Result<()> {
    staging::remove(path)
}
