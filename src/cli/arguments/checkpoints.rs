//! When checkpoints are saved, and how many are kept.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use clap::Args;
use monosem::run::checkpoint::{CheckpointPolicy, Every};
use serde::{Serialize, Serializer};

use super::number::{count, count_or_zero};

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Checkpoints")]
pub struct CheckpointArguments {
    /// Save a checkpoint every N steps or every 30s, 15m or 2h; 0: only on Ctrl-C, SIGTERM or SIGUSR1
    #[arg(long, default_value = "15m", value_name = "N|TIME", allow_hyphen_values = true)]
    checkpoint_every: Interval,
    /// Keep this many checkpoints, the newest ones
    #[arg(
        long,
        default_value = "2",
        value_name = "COUNT",
        value_parser = count::<NonZeroUsize>,
        allow_hyphen_values = true
    )]
    keep_checkpoints: NonZeroUsize,
}

impl CheckpointArguments {
    /// For the library.
    pub fn policy(&self) -> CheckpointPolicy {
        CheckpointPolicy { every: self.checkpoint_every.0, keep: self.keep_checkpoints }
    }
}

/// The value of `--checkpoint-every`, as people write it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval(Every);

const NEITHER: &str = "neither a number of steps, e.g. 500, nor a time, e.g. 15m";

impl FromStr for Interval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(steps) = count_or_zero(text) {
            return Ok(Self(Every::Steps(steps)));
        }
        match humantime::parse_duration(text) {
            Ok(time) if !time.is_zero() => Ok(Self(Every::Time(time))),
            _ => Err(NEITHER),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Every::Steps(steps) => write!(f, "{steps}"),
            Every::Time(time) => write!(f, "{}", humantime::format_duration(time)),
        }
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Every::Steps(steps) => serializer.serialize_u64(steps),
            Every::Time(_) => serializer.collect_str(self),
        }
    }
}
