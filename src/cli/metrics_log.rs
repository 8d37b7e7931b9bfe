//! A line of metrics.jsonl every few steps, the same on stdout for programs, and progress for people.

use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Instant;

use monosem::checkpoint::Manifest;
use monosem::train::Progress;
use monosem::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::output::{self, print};
use super::progress::Display;
use super::run_directory::RunDirectory;

const NAME: &str = "metrics.jsonl";

/// What a checkpoint keeps of the run besides the training's own state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes of metrics.jsonl.
    metrics_bytes: u64,
    /// Seconds that the run had taken.
    seconds: f64,
    /// Rows of data to train on.
    pub rows: u64,
}

impl Position {
    /// That of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Config`] when another program wrote the checkpoint.
    pub fn of(manifest: &Manifest) -> Result<Self> {
        serde_json::from_value(manifest.run.clone())
            .map_err(|error| Error::Config(format!("the checkpoint is not one of `monosem train`: {error}")))
    }
}

/// The metrics of a run under way. Its file is locked, so that no two processes train in one directory.
pub struct Log {
    file: File,
    path: PathBuf,
    /// Bytes in the file.
    bytes: u64,
    every: u64,
    steps: u64,
    started: Instant,
    /// Seconds that the run took before it was resumed.
    seconds_before: f64,
    display: Display,
}

impl Log {
    /// Makes the file, which must be new.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(directory: &mut RunDirectory, steps: u64, every: NonZeroU64) -> Result<Self> {
        let file = directory.create_file(NAME)?;
        Self::new(file, directory.join(NAME), steps, every)
    }

    /// Opens the file of a run that is to be resumed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`] when another process is training in the directory.
    pub fn open(directory: &RunDirectory, steps: u64, every: NonZeroU64) -> Result<Self> {
        let path = directory.join(NAME);
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
        Self::new(file, path, steps, every)
    }

    fn new(file: File, path: PathBuf, steps: u64, every: NonZeroU64) -> Result<Self> {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let path = path.to_string_lossy();
                let problem = "another process is training in this directory; wait for it, or name a new --out";
                return Err(Error::Config(format!("{} is locked: {problem}", path.escape_debug())));
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let (started, display) = (Instant::now(), Display::new(steps));
        Ok(Self { file, path, bytes: 0, every: every.get(), steps, started, seconds_before: 0.0, display })
    }

    /// Forgets what was written after `position`, where `steps` steps were done.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rewind(&mut self, steps: u64, position: &Position) -> Result<()> {
        let length = self.file.metadata().map_err(Error::io(&self.path))?.len();
        self.bytes = position.metrics_bytes.min(length);
        self.seconds_before = position.seconds;
        self.display.resume_from(steps);
        let rewound = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
        rewound.map(drop).map_err(Error::io(&self.path))
    }

    /// Where it is now, in a run on `rows` rows of data.
    pub fn position(&self, rows: u64) -> Position {
        Position { metrics_bytes: self.bytes, seconds: self.seconds(), rows }
    }

    /// Seconds that the run has taken.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Gives the step's metrics.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, progress: &Progress) -> Result<Value> {
        let metrics = json!({
            "step": progress.step,
            "tokens": progress.tokens,
            "loss": progress.loss,
            "fvu": progress.fvu,
            "l0": progress.l0,
            "gradient_norm": progress.gradient_norm,
            "learning_rate": progress.learning_rate,
            "dead": progress.dead,
            "seconds": self.seconds(),
        });
        if progress.step.is_multiple_of(self.every) || progress.step == 1 || progress.step == self.steps {
            // In one write, so that whoever follows the file sees whole lines.
            let line = format!("{metrics}\n");
            self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))?;
            self.bytes += line.len() as u64;
            if output::json() {
                self.display.aside(|| print(&metrics.to_string()))?;
            }
        }
        self.display.show(progress);
        Ok(metrics)
    }
}
