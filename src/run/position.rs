//! The part of a checkpoint that belongs to the run around the training.

use serde::{Deserialize, Serialize};

use super::checkpoint::{Manifest, Marks};
use super::start::Start;
use crate::data::{FileIdentity, RowOrder};
use crate::engine::path::StepPath;
use crate::error::{Error, Result};

/// `run` in a checkpoint's manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Bytes of metrics.jsonl.
    pub metrics_bytes: u64,
    /// Lines of metrics.jsonl after those bytes that the file system refused.
    #[serde(default)]
    pub unwritten_metrics: Vec<String>,
    /// Seconds that the run had taken.
    pub seconds: f64,
    /// Rows of data to train on, after those that were excluded; none of a stream.
    pub rows: Option<u64>,
    /// The files of the data, by content.
    pub data: Vec<FileIdentity>,
    /// The order of the rows.
    pub order: RowOrder,
    /// The rows ended before the steps did, and cannot be followed by more.
    #[serde(default)]
    pub is_at_end: bool,
    /// Seed of the job.
    pub seed: u64,
    /// Where the run started.
    #[serde(default)]
    pub start: Start,
    /// Where the run resumed under other marks, oldest first.
    pub resumed_under: Vec<MarkChange>,
    /// Where it was planned for more steps, oldest first.
    #[serde(default)]
    pub extended: Vec<Extension>,
    /// How the last step was computed, on which the way of the next depends.
    #[serde(default)]
    pub path: StepPath,
    /// How many went each way.
    #[serde(default)]
    pub steps_by_path: StepsByPath,
}

/// Steps by [`StepPath`], where active features may not fit their list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepsByPath {
    pub lists: u64,
    pub slabs: u64,
}

impl StepsByPath {
    pub fn add(&mut self, path: StepPath) {
        match path {
            StepPath::Lists => self.lists += 1,
            StepPath::Slabs => self.slabs += 1,
        }
    }
}

/// A resume that planned for more steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extension {
    /// Steps taken before it.
    pub step: u64,
    /// Steps that were planned before it.
    pub before: u64,
    /// Steps that are planned since.
    pub now: u64,
}

/// A resume by a build that computes other bits than the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MarkChange {
    /// Steps taken before it.
    pub step: u64,
    pub before: Marks,
    pub now: Marks,
}

impl Position {
    /// That of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Config`] when the checkpoint was not written by a run.
    pub fn of(manifest: &Manifest) -> Result<Self> {
        serde_json::from_value(manifest.run.clone())
            .map_err(|error| Error::Config(format!("the checkpoint was not written by a run: {error}")))
    }
}
