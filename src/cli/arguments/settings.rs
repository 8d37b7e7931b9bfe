//! The settings of a run: flags of `train`, keys of `--config` and of `config.toml`.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use monosem::train::Recipe;
use monosem::{Error, Result};
use serde::Serialize;

use super::checkpoints::CheckpointArguments;
use super::data::{DataArguments, RowArguments};
use super::device::{DeviceArguments, ScreeningArguments};
use super::metadata::MetadataArguments;
use super::model::ModelArguments;
use super::order::OrderArguments;
use super::training::TrainingArguments;
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
    pub validation: ValidationArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub model: ModelArguments,
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
        let recipe = Recipe {
            learning_rate: training.lr.flatten().unwrap_or(usual.learning_rate),
            warmup_steps: training.warmup.flatten().unwrap_or(usual.warmup_steps),
            decay_steps: training.decay.flatten().unwrap_or(usual.decay_steps),
            clip: (training.clip != 0.0).then_some(training.clip),
            unit_norm_decoder: self.model.has_unit_norm_decoder(),
            dead_window: training.dead_window,
            moments: training.moments.with_seed(training.seed),
            ..usual
        };
        recipe.validate()?;
        Ok(recipe)
    }

    /// The keys of a file that these flags of the command line rule out.
    pub fn displaced(flags: &ArgMatches) -> Vec<&'static str> {
        let given = |flag: &str| flags.value_source(flag) == Some(ValueSource::CommandLine);
        let mut displaced = Vec::new();
        for [one, other] in [["features", "expansion"], ["steps", "tokens"]] {
            if given(one) || given(other) {
                displaced.extend([one, other]);
            }
        }
        if given("val") && flags.get_raw("val").is_some_and(|mut paths| paths.any(|path| path == "none")) {
            displaced.push("eval-every");
        }
        if given("auxk") && flags.get_raw("auxk").is_some_and(|mut auxk| auxk.any(|loss| loss == "none")) {
            displaced.extend(["auxk-coefficient", "auxk-k"]);
        }
        displaced
    }
}
