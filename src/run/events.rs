//! Events of a run, for whoever shows or records it.

use std::path::Path;

use serde_json::Value;

use super::checkpoint::Marks;
use super::job::Job;
use crate::engine::select::Tuning;
use crate::error::{Error, Result};
use crate::train::{Profile, Progress, Validation};

/// Something that happened in a run, told in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The tuning cache cannot be used.
    TuningCacheUnusable {
        /// Its file.
        path: &'a Path,
        /// The reason, and its consequence.
        problem: &'a str,
    },
    /// Kernels were measured and chosen.
    Tuned {
        /// The fastest ones.
        tuning: Tuning,
        /// Seconds that measuring took.
        seconds: f64,
    },
    /// A damaged checkpoint was skipped (and removed, where the run resumes from an older one).
    CheckpointSkipped {
        /// The damage.
        error: &'a Error,
    },
    /// The checkpoint to resume from was written under other rules or shaders: the run will not end with the bits of an
    /// unbroken one.
    ResumedUnderOtherMarks {
        /// Those of the checkpoint.
        before: &'a Marks,
        /// Those of this build.
        now: &'a Marks,
    },
    /// The first step of a new run comes next.
    Started {
        /// The job.
        job: &'a Job,
    },
    /// The next step of a resumed run comes next.
    Resumed {
        /// The job.
        job: &'a Job,
        /// Steps taken before.
        step: u64,
    },
    /// The rows of the next step have not come for some time.
    Waiting {
        /// Seconds since they were asked for.
        seconds: u64,
    },
    /// A step finished.
    Step {
        /// Its results.
        progress: &'a Progress,
        /// Quality on held-out rows after it, if it was measured.
        validation: Option<&'a Validation>,
        /// The same as in a line of metrics.jsonl.
        metrics: &'a Value,
        /// The line was written.
        is_logged: bool,
    },
    /// A line of metrics.jsonl, or its counterpart for TensorBoard, could not be written: it is kept, and written with
    /// the next one.
    MetricsDelayed {
        /// The reason.
        error: &'a Error,
    },
    /// A checkpoint could not be written: the run continues without it.
    CheckpointFailed {
        /// The reason.
        error: &'a Error,
    },
    /// A checkpoint is on the disk.
    CheckpointSaved {
        /// Steps taken before it.
        step: u64,
        /// Its directory.
        path: &'a Path,
    },
    /// All steps that this call takes are finished; saving comes next.
    StepsFinished {
        /// Steps of the run so far.
        steps: u64,
        /// Steps of this process with rows that were selected in f32, because f16 screening could not prove theirs.
        uncertain_steps: u64,
        /// Method that found the active features.
        selection: &'a str,
        /// Where the time went, if it was asked for.
        profile: Option<&'a Profile>,
    },
    /// The SAE is on the disk: the run is done.
    Saved {
        /// Its directory.
        path: &'a Path,
    },
    /// The run failed, and its last sound state is on the disk; [`Run::train`](super::Run::train) returns the error.
    Rescued {
        /// The checkpoint that it resumes from.
        checkpoint: &'a Path,
    },
    /// The run was stopped before its last step.
    Interrupted {
        /// The checkpoint that it resumes from; none if no step was taken yet.
        checkpoint: Option<&'a Path>,
    },
}

/// Receives events. An error of its own ends the run.
pub type Listener<'a> = dyn FnMut(&Event<'_>) -> Result<()> + 'a;
