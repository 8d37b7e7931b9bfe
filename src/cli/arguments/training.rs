//! How the SAE is trained.

use std::num::NonZeroU64;

use clap::{ArgGroup, Args, ValueEnum};
use monosem::train::{DEAD_WINDOW, MomentPrecision};
use serde::Serialize;

use super::number::{Choice, count, count_or_zero, or_default, positive, positive_or_zero};

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Training", group = ArgGroup::new("length").args(["steps", "tokens"]))]
pub struct TrainingArguments {
    /// Batch size, in rows (tokens)
    #[arg(long, default_value_t = 4096, value_parser = count::<usize>, allow_hyphen_values = true)]
    pub batch: usize,
    /// Number of steps; it or --tokens is needed
    #[arg(long, value_name = "S", value_parser = count::<u64>, allow_hyphen_values = true)]
    pub steps: Option<u64>,
    /// Tokens to train on, rounded up to whole batches
    #[arg(long, value_name = "T", value_parser = count::<u64>, allow_hyphen_values = true)]
    pub tokens: Option<u64>,
    /// Peak learning rate [default: 2e-4 / sqrt(features / 16384), and up to 4x that for runs under 10,000 steps]
    #[arg(long, value_name = "X|default", value_parser = or_default(positive), allow_hyphen_values = true)]
    pub lr: Option<Choice<f64>>,
    /// Warm-up steps [default: a fifteenth of the steps, at most 1000]
    #[arg(
        long,
        value_name = "STEPS|default",
        value_parser = or_default(count_or_zero::<u64>),
        allow_hyphen_values = true
    )]
    pub warmup: Option<Choice<u64>>,
    /// Linear decay steps at the end [default: a fifth of the steps]
    #[arg(
        long,
        value_name = "STEPS|default",
        value_parser = or_default(count_or_zero::<u64>),
        allow_hyphen_values = true
    )]
    pub decay: Option<Choice<u64>>,
    /// Clip the gradient norm to this; 0 disables clipping
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "NORM",
        value_parser = positive_or_zero,
        allow_hyphen_values = true
    )]
    pub clip: f64,
    /// A feature is dead once it has not fired for this many tokens
    #[arg(
        long,
        default_value_t = DEAD_WINDOW,
        value_name = "TOKENS",
        value_parser = count::<u64>,
        allow_hyphen_values = true
    )]
    pub dead_window: u64,
    /// Precision of Adam's moments: f32, or bf16 with stochastic rounding (half the memory)
    #[arg(long, default_value = "f32", value_name = "f32|bf16", hide_possible_values = true)]
    pub moments: Moments,
    /// Seed of the initial weights and of the order of the rows
    #[arg(long, default_value_t = 0, value_parser = count_or_zero::<u64>, allow_hyphen_values = true)]
    pub seed: u64,
    /// Log metrics every N steps
    #[arg(long, default_value = "10", value_name = "N", value_parser = count::<NonZeroU64>, allow_hyphen_values = true)]
    pub log_every: NonZeroU64,
}

/// The values of `--moments`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
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
