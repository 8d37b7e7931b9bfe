//! When a run's state is saved, and how much of what was saved is kept.

use std::fmt;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use monosem::checkpoint::{self, Manifest, Reader, Writer};
use monosem::sae::SaeConfig;
use monosem::train::{MomentPrecision, Trainer};
use monosem::{Error, Result};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::output::tell;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Checkpoints")]
pub struct CheckpointSettings {
    /// How often the state is saved: a number of steps, or a time as 30s, 15m or 2h; 0 for only when the run is asked
    /// to end (Ctrl-C, SIGTERM, SIGUSR1)
    #[arg(long, default_value = "15m", value_name = "STEPS|TIME")]
    checkpoint_every: Every,
    /// Checkpoints that are kept, the newest ones
    #[arg(long, default_value = "2", value_name = "COUNT")]
    keep_checkpoints: NonZeroUsize,
}

/// The time from one checkpoint to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Every {
    Steps(u64),
    Time(Duration),
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Ok(steps) = text.parse() {
            return Ok(Self::Steps(steps));
        }
        match humantime::parse_duration(text) {
            Ok(time) if !time.is_zero() => Ok(Self::Time(time)),
            _ => Err("neither a number of steps, as 500, nor a time, as 15m".into()),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Time(time) => write!(f, "{}", humantime::format_duration(*time)),
        }
    }
}

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Steps(steps) => serializer.serialize_u64(*steps),
            Self::Time(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "neither a number of steps, as 500, nor a time, as \"15m\"")]
        enum Value {
            Steps(u64),
            Text(String),
        }
        match Value::deserialize(deserializer)? {
            Value::Steps(steps) => Ok(Self::Steps(steps)),
            Value::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

/// The checkpoints of a run under way.
pub struct Checkpoints {
    directory: PathBuf,
    config: SaeConfig,
    moments: MomentPrecision,
    settings: CheckpointSettings,
    /// The one that is being written.
    writer: Option<Writer>,
    /// The step and time of the last one.
    last: (u64, Instant),
}

impl Checkpoints {
    /// The checkpoints below `directory`, of a run that begins, or goes on, now.
    pub fn new(directory: PathBuf, config: SaeConfig, moments: MomentPrecision, settings: CheckpointSettings) -> Self {
        Self { directory, config, moments, settings, writer: None, last: (0, Instant::now()) }
    }

    /// What `resume` makes of the newest whole checkpoint, and what that says of itself; none if there is none. Newer ones,
    /// which are damaged, are removed.
    ///
    /// # Errors
    /// [`Error::Data`] if there are only damaged ones, [`Error::Io`], and those of `resume`.
    pub fn restore<T>(&mut self, resume: impl Fn(&mut Reader) -> Result<T>) -> Result<Option<(T, Manifest)>> {
        checkpoint::prune(&self.directory, usize::MAX)?;
        let mut damaged = Vec::new();
        for (step, path) in checkpoint::list(&self.directory)?.into_iter().rev() {
            let restored = Reader::open(&path).and_then(|mut reader| {
                let resumed = resume(&mut reader)?;
                Ok((resumed, reader.manifest().clone()))
            });
            match restored {
                Ok(restored) => {
                    self.last.0 = step;
                    damaged.iter().try_for_each(|path: &PathBuf| checkpoint::remove(path))?;
                    return Ok(Some(restored));
                }
                Err(error) if is_damage(&error) => {
                    tell(&format!("passed over a checkpoint: {error}"));
                    damaged.push(path);
                }
                Err(error) => return Err(error),
            }
        }
        match damaged[..] {
            [] => Ok(None),
            _ => Err(Error::data(
                &self.directory,
                "holds no checkpoint that is whole; remove it, and the run starts from the beginning",
            )),
        }
    }

    /// The writer of a checkpoint that is due after `step` steps.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn due(&mut self, step: u64) -> Result<Option<&mut Writer>> {
        let (last, begun) = self.last;
        let is_due = match self.settings.checkpoint_every {
            Every::Steps(every) => step.is_multiple_of(every),
            Every::Time(every) => begun.elapsed() >= every,
        };
        if !is_due || step == last {
            return Ok(None);
        }
        self.begin(step).map(Some)
    }

    fn begin(&mut self, step: u64) -> Result<&mut Writer> {
        self.finish()?;
        self.last = (step, Instant::now());
        Ok(self.writer.insert(Writer::create(&self.directory, &self.config, self.moments, step)?))
    }

    /// To be told of each finished step: the state after it is known to be sound.
    ///
    /// # Errors
    /// [`Error::Io`] if a checkpoint could not be written.
    pub fn finished(&mut self, step: u64, manifest: impl FnOnce() -> Manifest) -> Result<()> {
        match &mut self.writer {
            Some(writer) if writer.step() == step => writer.commit(manifest()),
            Some(writer) if writer.is_finished() => self.finish()?,
            _ => {}
        }
        Ok(())
    }

    /// Saves the state as it is, after steps that are all finished, and gives its path.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DeviceLost`].
    pub fn save(&mut self, trainer: &Trainer<'_>, manifest: Manifest) -> Result<PathBuf> {
        let step = manifest.step;
        if self.last.0 != step {
            let writer = self.begin(step)?;
            trainer.copy_state(writer)?;
            writer.commit(manifest);
        }
        self.finish()?;
        Ok(checkpoint::path(&self.directory, step))
    }

    /// Waits for the checkpoint that is being written, and removes those that are too many.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self) -> Result<()> {
        match self.writer.take() {
            Some(writer) => {
                writer.finish()?;
                checkpoint::prune(&self.directory, self.settings.keep_checkpoints.get())
            }
            None => Ok(()),
        }
    }
}

/// Whether an error says that a file is not what it should be, rather than that it cannot be read now.
pub fn is_damage(error: &Error) -> bool {
    match error {
        Error::Data { .. } => true,
        Error::Io { source, .. } => source.kind() == ErrorKind::NotFound,
        _ => false,
    }
}
