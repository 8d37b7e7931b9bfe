//! `metrics.jsonl`: one line per logged step, cut back when a run resumes. Its lock keeps other processes out of the
//! run.

use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::directory::RunDirectory;
use crate::error::{Error, Result};
use crate::train::Progress;

const NAME: &str = "metrics.jsonl";

/// The metrics file of a run under way.
pub(super) struct MetricsFile {
    file: File,
    path: PathBuf,
    /// Bytes in the file.
    bytes: u64,
}

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
        Ok(Self { file, path, bytes: 0 })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Discards what was written after the first `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rewind(&mut self, bytes: u64) -> Result<()> {
        let length = self.file.metadata().map_err(Error::io(&self.path))?.len();
        self.bytes = bytes.min(length);
        let rewound = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
        rewound.map(drop).map_err(Error::io(&self.path))
    }

    /// Appends a line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, metrics: &Value) -> Result<()> {
        // In one write, so that whoever follows the file sees whole lines.
        let line = format!("{metrics}\n");
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))?;
        self.bytes += line.len() as u64;
        Ok(())
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

/// The metrics of a step, `seconds` into the run (docs/metrics.md).
pub(super) fn metrics_json(progress: &Progress, seconds: f64) -> Value {
    let mut metrics = json!({
        "step": progress.step,
        "tokens": progress.tokens,
        "loss": progress.loss,
        "fvu": progress.fvu,
        "l0": progress.l0,
        "gradient_norm": progress.gradient_norm,
        "learning_rate": progress.learning_rate,
        "dead": progress.dead,
        "seconds": seconds,
    });
    for (name, loss) in &progress.losses {
        metrics[*name] = (*loss).into();
    }
    metrics
}
