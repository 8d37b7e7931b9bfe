//! How the SAE is trained.

use std::num::NonZeroU64;

use clap::{ArgGroup, Args, ValueEnum};
use monosem::train::{DEAD_WINDOW, MomentPrecision};
use serde::{Deserialize, Serialize};

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Training", group = ArgGroup::new("length").args(["steps", "tokens"]))]
pub struct TrainingArguments {
    /// Batch size, in rows (tokens)
    #[arg(long, default_value_t = 4096)]
    pub batch: usize,
    /// Number of steps; it or --tokens is needed
    #[arg(long, value_name = "S")]
    pub steps: Option<u64>,
    /// Tokens to train on, rounded up to whole batches
    #[arg(long, value_name = "T")]
    pub tokens: Option<u64>,
    /// Peak learning rate [default: 2e-4 / sqrt(features / 16384), and up to 4x that for runs under 10,000 steps]
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,
    /// Warm-up steps [default: a fifteenth of the steps, at most 1000]
    #[arg(long, value_name = "STEPS")]
    pub warmup: Option<u64>,
    /// Linear decay steps at the end [default: a fifth of the steps]
    #[arg(long, value_name = "STEPS")]
    pub decay: Option<u64>,
    /// Clip the gradient norm to this; 0 disables clipping
    #[arg(long, default_value_t = 1.0, value_name = "NORM")]
    pub clip: f64,
    /// A feature is dead once it has not fired for this many tokens
    #[arg(long, default_value_t = DEAD_WINDOW, value_name = "TOKENS")]
    #[serde(default = "dead_window")]
    pub dead_window: u64,
    /// Precision of Adam's moments: f32, or bf16 with stochastic rounding (half the memory)
    #[arg(long, default_value = "f32", value_name = "f32|bf16", hide_possible_values = true)]
    pub moments: Moments,
    /// Seed of the initial weights and of the order of the rows
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Log metrics every N steps
    #[arg(long, default_value = "10", value_name = "N")]
    pub log_every: NonZeroU64,
}

/// What config.toml means without the key, as before there was one.
fn dead_window() -> u64 {
    DEAD_WINDOW
}

/// The values of `--moments`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moments {
    F32,
    Bf16,
}

impl Moments {
    /// With the seed of the rounding.
    pub fn with_seed(self, seed: u64) -> MomentPrecision {
        match self {
            Self::F32 => MomentPrecision::F32,
            Self::Bf16 => MomentPrecision::Bf16 { seed },
        }
    }
}
