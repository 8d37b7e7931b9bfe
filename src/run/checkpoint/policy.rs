//! When a run's state is saved, and how many checkpoints are kept.

use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Manifest, Reader, Writer, list, path, prune, remove};
use crate::error::{Error, Result};
use crate::sae::SaeConfig;
use crate::train::{MomentPrecision, Trainer};

/// When a run's state is saved, and how many checkpoints are kept. By default one is saved every 15 minutes and the
/// newest two are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointPolicy {
    /// The interval from one checkpoint to the next.
    pub every: Every,
    /// Number of checkpoints that are kept, the newest ones.
    pub keep: NonZeroUsize,
}

/// The interval from one checkpoint to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Every {
    /// A number of steps; 0 for none but the one that an interrupted run leaves.
    Steps(u64),
    /// A time.
    Time(Duration),
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        const KEEP: NonZeroUsize = NonZeroUsize::new(2).unwrap();
        Self { every: Every::Time(Duration::from_secs(15 * 60)), keep: KEEP }
    }
}

/// A run restored from a checkpoint.
pub(crate) struct Restored<T> {
    /// The state as the caller made it from the tensors.
    pub state: T,
    /// The rest of the checkpoint.
    pub manifest: Manifest,
}

/// The checkpoints of a run under way.
pub(crate) struct Checkpoints {
    directory: PathBuf,
    config: SaeConfig,
    moments: MomentPrecision,
    policy: CheckpointPolicy,
    /// The one that is being written.
    writer: Option<Writer>,
    /// Step after which the last one was begun or restored.
    last_step: u64,
    /// When that was.
    last_time: Instant,
    /// Steps of those that are on the disk and were not reported yet.
    saved: Vec<u64>,
}

impl Checkpoints {
    /// The checkpoints below `directory`, of a run that begins or resumes now.
    pub fn new(directory: PathBuf, config: SaeConfig, moments: MomentPrecision, policy: CheckpointPolicy) -> Self {
        Self {
            directory,
            config,
            moments,
            policy,
            writer: None,
            last_step: 0,
            last_time: Instant::now(),
            saved: Vec::new(),
        }
    }

    /// The newest intact checkpoint as `resume` restores it; none if there is no checkpoint. Each newer one is damaged:
    /// it is removed, and `skipped` is called with the reason.
    ///
    /// # Errors
    /// [`Error::Data`] if all are damaged, [`Error::Io`], and those of `resume` and `skipped`.
    pub fn restore<T>(
        &mut self,
        resume: impl Fn(&mut Reader) -> Result<T>,
        mut skipped: impl FnMut(&Error) -> Result<()>,
    ) -> Result<Option<Restored<T>>> {
        prune(&self.directory, usize::MAX)?;
        let mut damaged = Vec::new();
        for (step, path) in list(&self.directory)?.into_iter().rev() {
            let restored = Reader::open(&path).and_then(|mut reader| {
                let state = resume(&mut reader)?;
                Ok(Restored { state, manifest: reader.manifest().clone() })
            });
            match restored {
                Ok(restored) => {
                    self.last_step = step;
                    damaged.iter().try_for_each(|path: &PathBuf| remove(path))?;
                    return Ok(Some(restored));
                }
                Err(error) if is_damage(&error) => {
                    skipped(&error)?;
                    damaged.push(path);
                }
                Err(error) => return Err(error),
            }
        }
        match damaged[..] {
            [] => Ok(None),
            _ => Err(Error::data(&self.directory, "contains no intact checkpoint; delete it to start over")),
        }
    }

    /// Whether a checkpoint is due after `step` steps.
    pub fn is_due(&self, step: u64) -> bool {
        let is_over = match self.policy.every {
            Every::Steps(every) => step.is_multiple_of(every),
            Every::Time(every) => self.last_time.elapsed() >= every,
        };
        is_over && step != self.last_step
    }

    /// Steps of the checkpoints that were completed since the last call.
    pub fn take_saved(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.saved)
    }

    /// The writer of a new checkpoint after `step` steps. One that still waits for its manifest is given up.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(&mut self, step: u64) -> Result<&mut Writer> {
        self.finish()?;
        (self.last_step, self.last_time) = (step, Instant::now());
        Ok(self.writer.insert(Writer::create(&self.directory, &self.config, self.moments, step)?))
    }

    /// Whether a checkpoint waits for its manifest: its step is not known to be sound yet.
    pub fn is_uncommitted(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.is_committed())
    }

    /// Whether a checkpoint of the state after `step` steps waits for its manifest.
    pub fn is_ready_for(&self, step: u64) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.step() == step)
    }

    /// Completes the checkpoint that is being written, now that its step is known to be sound.
    pub fn commit(&mut self, manifest: Manifest) {
        if let Some(writer) = &mut self.writer {
            writer.commit(manifest);
        }
    }

    /// Removes older checkpoints if the one that is being written has reached the disk; does not wait for it.
    ///
    /// # Errors
    /// [`Error::Io`] if it could not be written.
    pub fn finish_if_written(&mut self) -> Result<()> {
        match &self.writer {
            Some(writer) if writer.is_finished() => self.finish(),
            _ => Ok(()),
        }
    }

    /// Saves the state as it is, after steps that are all finished, and gives its path.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DeviceLost`].
    pub fn save(&mut self, trainer: &mut Trainer, manifest: Manifest) -> Result<PathBuf> {
        let step = manifest.step;
        if self.last_step != step {
            let writer = self.begin(step)?;
            trainer.copy_state(writer)?;
            writer.commit(manifest);
        }
        self.finish()?;
        Ok(path(&self.directory, step))
    }

    /// Waits for the checkpoint that is being written, and removes those that are too many.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self) -> Result<()> {
        match self.writer.take() {
            Some(writer) => {
                let saved = writer.is_committed().then_some(writer.step());
                writer.finish()?;
                self.saved.extend(saved);
                prune(&self.directory, self.policy.keep.get())
            }
            None => Ok(()),
        }
    }
}

/// Whether an error means that a file is damaged or missing, rather than that it cannot be read now.
pub fn is_damage(error: &Error) -> bool {
    match error {
        Error::Data { .. } => true,
        Error::Io { source, .. } => source.kind() == ErrorKind::NotFound,
        _ => false,
    }
}
