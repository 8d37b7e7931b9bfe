//! Options of a run, and its end.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Instant;

use super::checkpoint::CheckpointPolicy;
use crate::data::{FilteredRows, Provenance};

/// Everything about a run that its result does not depend on.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// When checkpoints are saved, and how many are kept.
    pub checkpoints: CheckpointPolicy,
    /// Steps from one line of metrics.jsonl to the next.
    pub log_every: NonZeroU64,
    /// Metadata of the SAE; none for those of the data.
    pub provenance: Option<Provenance>,
    /// Held-out rows to evaluate the SAE on while it trains.
    pub validation: Option<Validated>,
    /// Text of config.toml; without it none is written.
    pub config_toml: Option<String>,
    /// A run that is resumed may have been planned for fewer steps, and with another fall of the learning rate.
    pub extend: bool,
    /// Times every kernel; the device must have timestamps.
    pub profile: bool,
    /// Beginning of run.json's times.
    pub started: Instant,
}

impl Default for RunOptions {
    fn default() -> Self {
        const LOG_EVERY: NonZeroU64 = NonZeroU64::new(10).unwrap();
        Self {
            checkpoints: CheckpointPolicy::default(),
            log_every: LOG_EVERY,
            provenance: None,
            validation: None,
            config_toml: None,
            extend: false,
            profile: false,
            started: Instant::now(),
        }
    }
}

/// Held-out rows, and how often the SAE is evaluated on them: also after the last step.
#[derive(Clone, Debug)]
pub struct Validated {
    /// The rows.
    pub rows: FilteredRows,
    /// Steps from one evaluation to the next.
    pub every: NonZeroU64,
}

/// The end of a run that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The last step is taken.
    Done {
        /// Directory of the SAE.
        sae: PathBuf,
    },
    /// It was stopped before.
    Interrupted {
        /// The checkpoint that it resumes from; none if no step was taken yet.
        checkpoint: Option<PathBuf>,
    },
}
