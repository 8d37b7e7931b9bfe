//! The settings of a run: flags of `train`, keys of `--config` and of `config.toml`.

use std::ffi::OsStr;

use clap::Args;
use monosem::sae::SaeConfig;
use monosem::train::{Recipe, Schedule};
use monosem::{Error, Result};
use serde::Serialize;

use super::checkpoints::CheckpointArguments;
use super::data::{DataArguments, RowArguments};
use super::device::{DeviceArguments, ScreeningArguments};
use super::initialization::InitializationArguments;
use super::metadata::MetadataArguments;
use super::model::ModelArguments;
use super::normalization::NormalizationArguments;
use super::order::OrderArguments;
use super::training::{DecoderRule, TrainingArguments};
use super::validation::ValidationArguments;

/// The settings that define a run: flags, and keys of `--config` and of `config.toml`.
#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub rows: RowArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub order: OrderArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub normalization: NormalizationArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub validation: ValidationArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub initialization: InitializationArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub training: TrainingArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub checkpoints: CheckpointArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub metadata: MetadataArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub device: DeviceArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub screening: ScreeningArguments,
}

impl Settings {
    /// Checks what clap cannot see across the command line and a file.
    ///
    /// # Errors
    /// [`Error::Config`] naming the flags.
    pub fn check(&self) -> Result<()> {
        let exactly_one = |[one, other]: [&str; 2], given: [bool; 2]| match given {
            [true, true] => Err(Error::Config(format!(
                "{one} and {other} contradict each other, on the command line or in the --config file: give only one"
            ))),
            [false, false] => Err(Error::Config(format!(
                "neither --{one} nor --{other} is given, here or in a --config file: one is needed"
            ))),
            _ => Ok(()),
        };
        exactly_one(["features", "expansion"], [self.model.features.is_some(), self.model.expansion.is_some()])?;
        exactly_one(["steps", "tokens"], [self.training.steps.is_some(), self.training.tokens.is_some()])?;
        if self.data.data.is_empty() {
            return Err(Error::Config("there is no data, here or in the --config file: --data is needed".into()));
        }
        Ok(())
    }

    /// The SAE for activations of a width.
    ///
    /// # Errors
    /// [`Error::Config`] naming what makes none.
    pub fn sae_config(&self, width: usize) -> Result<SaeConfig> {
        let input_normalization = self.normalization.of_input();
        let config = SaeConfig { input_normalization, ..self.model.sae_config(width)? };
        config.validate()?;
        Ok(config)
    }

    /// How the SAE is trained.
    ///
    /// # Errors
    /// [`Error::Config`] naming what makes no recipe.
    pub fn recipe(&self, features: usize) -> Result<Recipe> {
        let training = &self.training;
        let steps = match (training.steps, training.tokens) {
            (Some(steps), _) => steps,
            (None, tokens) => tokens.unwrap_or(0).div_ceil(training.batch.max(1) as u64),
        };
        let usual = Recipe::top_k(features, training.batch, steps);
        let schedule = training.schedule.flatten().map_or(usual.schedule, Schedule::from);
        let warmup_steps = training.warmup.flatten().map_or(usual.warmup_steps, |warmup| warmup.of(steps));
        let usual_decay = match schedule {
            Schedule::Constant => 0,
            Schedule::Linear => usual.decay_steps,
            Schedule::Cosine => steps.saturating_sub(warmup_steps),
        };
        let usual_rule = if self.model.has_unit_norm_decoder() { DecoderRule::UnitNorm } else { DecoderRule::Free };
        let recipe = Recipe {
            learning_rate: training.lr.flatten().map_or(usual.learning_rate, |rate| rate.of(features)),
            warmup_steps,
            schedule,
            decay_steps: training.decay.flatten().map_or(usual_decay, |decay| decay.of(steps, warmup_steps)),
            beta1: training.adam_beta1.flatten().unwrap_or(usual.beta1),
            beta2: training.adam_beta2.flatten().unwrap_or(usual.beta2),
            epsilon: training.adam_eps.flatten().unwrap_or(usual.epsilon),
            clip: (training.clip != 0.0).then_some(training.clip),
            unit_norm_decoder: training.decoder_rule.flatten().unwrap_or(usual_rule) == DecoderRule::UnitNorm,
            dead_window: training.dead_window,
            sparsity_warmup_steps: training.sparsity_warmup.flatten().map_or(0, |warmup| warmup.of(steps)),
            k_annealing: self.model.k_annealing(steps)?,
            moments: training.moments.with_seed(training.seed),
            ..usual
        };
        recipe.validate()?;
        Ok(recipe)
    }

    /// The keys that do not count where one above them has this value: the others of a pair of which only one can be
    /// given, and the settings of what is turned off.
    pub fn displaces(key: &str, value: &OsStr) -> &'static [&'static str] {
        match (key, value == "none") {
            ("features" | "expansion", _) => &["features", "expansion"],
            ("steps" | "tokens", _) => &["steps", "tokens"],
            ("val", true) => &["eval-every"],
            ("auxk", true) => &["auxk-coefficient", "auxk-k"],
            _ => &[],
        }
    }
}
