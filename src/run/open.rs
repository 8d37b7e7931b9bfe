//! Opens the SAE of a finished run, of an unfinished one, or of a single checkpoint.

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoint::{self, CheckpointWeights, Reader, is_damage};
use crate::error::{Error, Result};
use crate::sae::{self, Weights};

/// An opened SAE and where it was found.
pub struct OpenedSae {
    /// Weights, read from the files as they are asked for.
    pub weights: Box<dyn Weights>,
    /// The checkpoint that they are from; none for a saved SAE.
    pub checkpoint: Option<OpenedCheckpoint>,
    /// Damage of newer checkpoints, which were skipped.
    pub skipped: Vec<Error>,
}

/// The checkpoint that an SAE was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedCheckpoint {
    /// Its directory.
    pub path: PathBuf,
    /// Steps taken before it.
    pub step: u64,
}

/// Opens the SAE at `path`: a directory that [`sae::open`] takes, a finished run, a checkpoint, or an unfinished run,
/// of which the newest intact checkpoint is taken. The weights of a checkpoint are read once to verify them.
///
/// # Errors
/// As [`sae::open`]; [`Error::Data`] when nothing of the kind is there or all checkpoints are damaged;
/// [`Error::Config`] for a checkpoint of another format.
pub fn open_sae(path: &Path) -> Result<OpenedSae> {
    fs::metadata(path).map_err(Error::io(path))?;
    if sae::weights_file(path).is_some() {
        return Ok(OpenedSae { weights: Box::new(sae::open(path)?), checkpoint: None, skipped: Vec::new() });
    }
    if path.join("manifest.json").is_file() {
        return from_checkpoint(path.to_owned(), CheckpointWeights::open(path)?, Vec::new());
    }
    let mut skipped = Vec::new();
    for (_, path) in checkpoint::list(&path.join("checkpoints"))?.into_iter().rev() {
        match CheckpointWeights::open(&path) {
            Ok(weights) => return from_checkpoint(path, weights, skipped),
            Err(error) if is_damage(&error) => skipped.push(error),
            Err(error) => return Err(error),
        }
    }
    Err(match skipped.into_iter().next() {
        Some(newest) => Error::data(path, format!("contains no intact checkpoint; the newest: {newest}")),
        None => Error::data(
            path,
            "has no cfg.json, here or in sae/, and no checkpoint; give the directory of an SAE, a run or a checkpoint",
        ),
    })
}

/// What the rows of the run in a directory are multiplied by ([`Recipe::row_scale`](crate::train::Recipe::row_scale)), as
/// its newest checkpoint that can be read has it; nothing if there is none.
///
/// # Errors
/// [`Error::Io`] when the checkpoints cannot be listed.
pub fn stored_row_scale(run: &Path) -> Result<Option<f32>> {
    let checkpoints = checkpoint::list(&run.join("checkpoints"))?;
    let newest = checkpoints.iter().rev().find_map(|(_, path)| Reader::open(path).ok());
    Ok(newest.and_then(|reader| reader.manifest().recipe.row_scale))
}

fn from_checkpoint(path: PathBuf, weights: CheckpointWeights, skipped: Vec<Error>) -> Result<OpenedSae> {
    let checkpoint = Some(OpenedCheckpoint { path, step: weights.manifest().step });
    Ok(OpenedSae { weights: weights.as_trained()?, checkpoint, skipped })
}
