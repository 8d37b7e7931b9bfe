//! How the SAE is trained.

use std::num::NonZeroU64;

use clap::{ArgGroup, Args, ValueEnum};
use monosem::train::{DEAD_WINDOW, MomentPrecision, Recipe};
use serde::Serialize;

use super::initialization::variant;
use super::number::{Choice, below_one, count, count_or_zero, or_default, positive, positive_or_zero};
use super::schedule::{Decay, LearningRate, ScheduleName, Stretch};

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
    /// Peak learning rate: X, or X/sqrt(features/N) [default: 2e-4/sqrt(features/16384), and up to 4x that for runs
    /// under 10,000 steps]
    #[arg(long, value_name = "X|default", value_parser = or_default(LearningRate::parse), allow_hyphen_values = true)]
    pub lr: Option<Choice<LearningRate>>,
    /// Fall of the learning rate to 0 over the steps of --decay: linear, or cosine (half a period); constant for none
    /// [default: linear]
    #[arg(
        long,
        value_name = "constant|linear|cosine|default",
        value_parser = or_default(variant::<ScheduleName>)
    )]
    pub schedule: Option<Choice<ScheduleName>>,
    /// Warm-up steps, in which the learning rate rises from 0: a number, or a share of all such as 5% [default: a
    /// fifteenth of the steps, at most 1000]
    #[arg(
        long,
        visible_alias = "warmup-steps",
        value_name = "STEPS|PERCENT|default",
        value_parser = or_default(Stretch::parse),
        allow_hyphen_values = true
    )]
    pub warmup: Option<Choice<Stretch>>,
    /// Steps at the end in which the learning rate falls: a number, a share of all such as 20%, or `rest`, all after
    /// the warm-up [default: a fifth of the steps; the rest of a cosine schedule]
    #[arg(
        long,
        visible_alias = "decay-steps",
        value_name = "STEPS|PERCENT|rest|default",
        value_parser = or_default(Decay::parse),
        allow_hyphen_values = true
    )]
    pub decay: Option<Choice<Decay>>,
    /// Steps in which the sparsity penalty of relu, jumprelu and gated rises from 0: a number, or a share of all such
    /// as 5% [default: 0]
    #[arg(
        long,
        value_name = "STEPS|PERCENT|default",
        value_parser = or_default(Stretch::parse),
        allow_hyphen_values = true
    )]
    pub sparsity_warmup: Option<Choice<Stretch>>,
    /// Adam's decay of the first moment [default: 0.9]
    #[arg(long, value_name = "X|default", value_parser = or_default(below_one), allow_hyphen_values = true)]
    pub adam_beta1: Option<Choice<f64>>,
    /// Adam's decay of the second moment [default: 0.999]
    #[arg(long, value_name = "X|default", value_parser = or_default(below_one), allow_hyphen_values = true)]
    pub adam_beta2: Option<Choice<f64>>,
    /// Adam's epsilon [default: 1e-8]
    #[arg(long, value_name = "X|default", value_parser = or_default(positive), allow_hyphen_values = true)]
    pub adam_eps: Option<Choice<f64>>,
    /// Clip the gradient norm to this; none, or 0, disables clipping
    #[arg(long, default_value_t = 1.0, value_name = "NORM|none", value_parser = clip, allow_hyphen_values = true)]
    pub clip: f64,
    /// Decoder rows: unit-norm (norm 1 after every step, and no gradient along them), or free [default: unit-norm; free
    /// with --rescale-acts-by-decoder-norm]
    #[arg(long, value_name = "unit-norm|free|default", value_parser = or_default(variant::<DecoderRule>))]
    pub decoder_rule: Option<Choice<DecoderRule>>,
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

impl TrainingArguments {
    /// Keeps the learning rate and both warm-ups of a recipe, where they would follow from another number of steps.
    pub fn keep_rise(&mut self, recipe: &Recipe) {
        if self.lr.flatten().is_none() {
            self.lr = Some(Some(LearningRate::Fixed(recipe.learning_rate)));
        }
        if !matches!(self.warmup.flatten(), Some(Stretch::Steps(_))) {
            self.warmup = Some(Some(Stretch::Steps(recipe.warmup_steps)));
        }
        if self.sparsity_warmup.flatten().is_some() {
            self.sparsity_warmup = Some(Some(Stretch::Steps(recipe.sparsity_warmup_steps)));
        }
    }
}

/// A norm, or 0 for none.
fn clip(text: &str) -> Result<f64, String> {
    if text == "none" { Ok(0.0) } else { positive_or_zero(text) }
}

/// The values of `--decoder-rule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecoderRule {
    UnitNorm,
    Free,
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
