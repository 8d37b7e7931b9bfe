//! `metrics.jsonl`: one line per logged step, cut back when a run resumes. Its lock keeps other processes out of the
//! run.

use std::fs::{File, TryLockError};
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::append_file::AppendFile;
use super::directory::RunDirectory;
use super::job::Job;
use crate::error::{Error, Result};
use crate::train::{Progress, Validation};

const NAME: &str = "metrics.jsonl";

/// The metrics file of a run under way.
pub(super) struct MetricsFile(AppendFile<String>);

impl MetricsFile {
    /// Creates the file, which must be new.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(directory: &mut RunDirectory) -> Result<Self> {
        let file = directory.create_file(NAME)?;
        Self::lock(file, directory.join(NAME))
    }

    /// Opens the file of a run that is to be resumed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`] when another process is training in the directory.
    pub fn open(directory: &RunDirectory) -> Result<Self> {
        let path = directory.join(NAME);
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
        Self::lock(file, path)
    }

    fn lock(file: File, path: PathBuf) -> Result<Self> {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let path = path.to_string_lossy();
                let problem = "another process is training in this directory; wait for it, or name a new directory";
                return Err(Error::Config(format!("{} is locked: {problem}", path.escape_debug())));
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        Ok(Self(AppendFile::new(file, path)))
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Lines that the file system has refused so far.
    pub fn unwritten(&self) -> Vec<String> {
        self.0.unwritten.clone()
    }

    /// Discards what was written after the first `bytes`, and appends the lines that could not be written then.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rewind(&mut self, bytes: u64, unwritten: Vec<String>) -> Result<()> {
        self.0.rewind(bytes, unwritten)
    }

    /// Appends a line. One that cannot be written is kept, and written before the next.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, metrics: &Value) -> Result<()> {
        self.0.append(format!("{metrics}\n"))
    }

    /// Writes the lines that could not be written before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// The steps that are logged: the first, every `every`-th and the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogSchedule {
    pub every: NonZeroU64,
    pub steps: u64,
}

impl LogSchedule {
    pub fn includes(self, step: u64) -> bool {
        step.is_multiple_of(self.every.get()) || step == 1 || step == self.steps
    }
}

/// How far a run is, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Seconds that the run has taken in all.
    pub seconds: f64,
    /// Seconds since it started or was resumed.
    pub seconds_here: f64,
    /// Steps taken before that.
    pub first_step: u64,
}

/// The metrics of a step (docs/metrics.md).
pub(super) fn metrics_json(job: &Job, progress: &Progress, validation: Option<&Validation>, pace: &Pace) -> Value {
    let Progress { step, tokens, dead, .. } = *progress;
    let tokens_here = tokens as f64 * (step - pace.first_step) as f64 / step as f64;
    let mut metrics = json!({
        "step": step,
        "tokens": tokens,
        "epoch": job.rows.rows().map(|rows| tokens as f64 / rows as f64),
        "loss": progress.loss,
        "fvu": progress.fvu,
        "l0": progress.l0,
        "gradient_norm": progress.gradient_norm,
        "learning_rate": progress.learning_rate,
        "dead": dead,
        "dead_fraction": (tokens >= job.recipe.dead_window).then(|| f64::from(dead) / job.config.features as f64),
        "uncertain_rows": progress.uncertain_rows,
        "seconds": pace.seconds,
        "tokens_per_second": tokens_here / pace.seconds_here,
    });
    if let Some(k) = progress.k {
        metrics["k"] = k.into();
    }
    if let Some(coefficient) = progress.sparsity_coefficient {
        metrics["sparsity_coefficient"] = coefficient.into();
    }
    if let Some(path) = progress.path {
        metrics["path"] = json!(path);
    }
    for (name, loss) in &progress.losses {
        metrics[name.as_str()] = (*loss).into();
    }
    if let Some(Validation { fvu, l0, .. }) = validation {
        metrics["val_fvu"] = (*fvu).into();
        metrics["val_l0"] = (*l0).into();
    }
    metrics
}
