//! `metrics.jsonl`: one line per logged step, cut back when a run resumes. Its lock keeps other processes out of the
//! run.

use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::directory::RunDirectory;
use crate::error::{Error, Result};
use crate::train::{Progress, Validation};

const NAME: &str = "metrics.jsonl";

/// The metrics file of a run under way.
pub(super) struct MetricsFile {
    file: File,
    path: PathBuf,
    /// Bytes in the file.
    bytes: u64,
    /// Lines that the file system has refused so far.
    unwritten: Vec<String>,
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
        Ok(Self { file, path, bytes: 0, unwritten: Vec::new() })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lines that the file system has refused so far.
    pub fn unwritten(&self) -> Vec<String> {
        self.unwritten.clone()
    }

    /// Discards what was written after the first `bytes`, and appends the lines that could not be written then.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rewind(&mut self, bytes: u64, unwritten: Vec<String>) -> Result<()> {
        let length = self.file.metadata().map_err(Error::io(&self.path))?.len();
        self.bytes = bytes.min(length);
        let rewound = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
        rewound.map_err(Error::io(&self.path))?;
        self.unwritten = unwritten;
        self.flush()
    }

    /// Appends a line. One that cannot be written is kept, and written before the next.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, metrics: &Value) -> Result<()> {
        self.unwritten.push(format!("{metrics}\n"));
        self.flush()
    }

    /// Writes the lines that could not be written before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        // In one write, so that whoever follows the file sees whole lines.
        let lines = self.unwritten.concat();
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // A part of a line must not stay. Where that cannot be had either, a resume cuts it off.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            return Err(Error::io(&self.path)(error));
        }
        self.bytes += lines.len() as u64;
        self.unwritten.clear();
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

/// How far a run is, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Seconds that the run has taken in all.
    pub seconds: f64,
    /// Seconds since it started or was resumed.
    pub seconds_here: f64,
    /// Steps taken before that.
    pub first_step: u64,
    /// Rows of an epoch; none of a stream.
    pub rows: Option<u64>,
}

/// The metrics of a step (docs/metrics.md).
pub(super) fn metrics_json(progress: &Progress, validation: Option<&Validation>, pace: &Pace) -> Value {
    let Progress { step, tokens, .. } = *progress;
    let tokens_here = tokens as f64 * (step - pace.first_step) as f64 / step as f64;
    let mut metrics = json!({
        "step": step,
        "tokens": tokens,
        "epoch": pace.rows.map(|rows| tokens as f64 / rows as f64),
        "loss": progress.loss,
        "fvu": progress.fvu,
        "l0": progress.l0,
        "gradient_norm": progress.gradient_norm,
        "learning_rate": progress.learning_rate,
        "dead": progress.dead,
        "uncertain_rows": progress.uncertain_rows,
        "seconds": pace.seconds,
        "tokens_per_second": tokens_here / pace.seconds_here,
    });
    for (name, loss) in &progress.losses {
        metrics[name.as_str()] = (*loss).into();
    }
    if let Some(Validation { fvu, l0, .. }) = validation {
        metrics["val_fvu"] = (*fvu).into();
        metrics["val_l0"] = (*l0).into();
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_cannot_be_written_are_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let writable = File::create_new(&path).unwrap();
        let mut metrics =
            MetricsFile { file: writable.try_clone().unwrap(), path: path.clone(), bytes: 0, unwritten: Vec::new() };
        metrics.append(&json!({ "step": 1 })).unwrap();
        metrics.file = File::open(&path).unwrap();
        for step in [2, 3] {
            assert!(matches!(metrics.append(&json!({ "step": step })), Err(Error::Io { .. })));
        }
        assert_eq!((metrics.bytes(), metrics.unwritten().len()), (11, 2));

        // In the process that had them, or in the one that resumes.
        let all = "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n";
        let (bytes, unwritten) = (metrics.bytes(), metrics.unwritten());
        metrics.file = writable;
        metrics.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), all);
        metrics.rewind(bytes, unwritten).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), all);
        assert_eq!((metrics.bytes(), metrics.unwritten().len()), (33, 0));
    }
}
