//! Runs: training with a directory, metrics, checkpoints and a way to resume.
//!
//! [`Run::create`] or [`Run::resume`] a [`Job`], then [`Run::train`] it; what happens meanwhile is an [`Event`].
//! [`open_sae`] opens the SAE of a run, finished or not, or of a checkpoint; [`Curves`] is what a run has recorded.

mod append_file;
pub mod checkpoint;
mod curves;
mod directory;
mod events;
mod job;
mod metrics;
mod open;
mod options;
#[cfg(feature = "plot")]
pub mod plot;
mod position;
mod record;
mod start;
mod tensorboard;
mod training;
mod tuning;
mod tuning_cache;

pub use crate::engine::select::{Screening, SelectionMethod, Tuning};
pub use curves::Curves;
pub use directory::{check_new, exists, is_done};
pub use events::{Event, Listener};
pub use job::Job;
pub use open::{OpenedCheckpoint, OpenedSae, open_sae, stored_row_scale};
pub use options::{End, RunOptions, Validated};
pub use start::{Start, StartingSae};
pub use training::Run;
pub use tuning::{choose_tuning, known_tuning};
