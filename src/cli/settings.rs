//! The settings of a run: flags of `train`, keys of `--config` and of `config.toml`.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::absolute;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, ValueEnum};
use monosem::data::Provenance;
use monosem::engine::select::Screening;
use monosem::sae::SaeConfig;
use monosem::train::{MomentPrecision, Recipe};
use monosem::{Error, Result};
use serde::{Deserialize, Serialize};

use super::checkpoints::CheckpointSettings;
use super::rows::RowArguments;
use super::{DataArguments, DeviceArguments};

/// What defines a run: flags, and keys of `--config` and of `config.toml`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
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
    pub model: ModelSettings,
    #[command(flatten)]
    #[serde(flatten)]
    pub training: TrainingSettings,
    #[command(flatten)]
    #[serde(flatten)]
    pub checkpoints: CheckpointSettings,
    #[command(flatten)]
    #[serde(flatten)]
    pub metadata: MetadataSettings,
    #[command(flatten)]
    #[serde(flatten)]
    pub device: DeviceArguments,
    #[command(flatten)]
    #[serde(flatten)]
    pub screening: ScreeningArguments,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Model", group = ArgGroup::new("size").args(["features", "expansion"]))]
pub struct ModelSettings {
    /// Number of features; it or --expansion is needed
    #[arg(long, visible_alias = "d-sae", value_name = "N")]
    features: Option<usize>,
    /// Number of features, as a multiple of the activations' width
    #[arg(long, value_name = "X")]
    expansion: Option<usize>,
    /// Active features a row
    #[arg(long, default_value_t = 32)]
    k: usize,
    /// Selects features by activation times decoder norm, and leaves the norms free (SAELens's TopK)
    #[arg(
        long,
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_name = "true|false",
        hide_possible_values = true
    )]
    rescale_acts_by_decoder_norm: bool,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Training", group = ArgGroup::new("length").args(["steps", "tokens"]))]
pub struct TrainingSettings {
    /// Rows a step
    #[arg(long, default_value_t = 4096)]
    batch: usize,
    /// Number of steps; it or --tokens is needed
    #[arg(long, value_name = "S")]
    steps: Option<u64>,
    /// Number of rows to train on, rounded up to whole steps
    #[arg(long, value_name = "T")]
    tokens: Option<u64>,
    /// Highest learning rate [default: 2e-4 / sqrt(features / 16384); below 10000 steps times sqrt(10000 / steps), at most 4]
    #[arg(long, value_name = "X")]
    lr: Option<f64>,
    /// Steps over which the learning rate rises from 0 [default: a fifteenth of the steps, at most 1000]
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u64>,
    /// Steps at the end over which the learning rate falls to 0 [default: a fifth of the steps]
    #[arg(long, value_name = "STEPS")]
    decay: Option<u64>,
    /// Largest norm of the gradient; 0 for no limit
    #[arg(long, default_value_t = 1.0, value_name = "NORM")]
    clip: f64,
    /// Type that Adam's moments are stored in: f32, or bf16 rounded at random, which halves them
    #[arg(long, default_value = "f32", value_name = "f32|bf16", hide_possible_values = true)]
    moments: Moments,
    /// Seed of the initial weights and of the order of the rows
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Steps from one line of metrics.jsonl to the next
    #[arg(long, default_value = "10", value_name = "STEPS")]
    pub log_every: NonZeroU64,
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

#[derive(Args, Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ScreeningArguments {
    /// Arithmetic that candidates are found in; the codes are those of f32 either way [default: auto, f16 on matrix units where that is
    /// likely faster]
    #[arg(long, value_name = "auto|f32|f16", hide_possible_values = true, help_heading = "Device")]
    screening: Option<ScreeningValue>,
}

/// The values of `--screening`.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ScreeningValue {
    Auto,
    F32,
    F16,
}

impl ScreeningArguments {
    /// For the library.
    pub fn value(self) -> Screening {
        match self.screening {
            None | Some(ScreeningValue::Auto) => Screening::Auto,
            Some(ScreeningValue::F32) => Screening::F32,
            Some(ScreeningValue::F16) => Screening::F16,
        }
    }
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Metadata of the SAE")]
pub struct MetadataSettings {
    /// Language model that the activations are from [default: what the data's metadata say]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    model_name: Option<String>,
    /// Point in the model that they were taken from [default: what the data's metadata say]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    hook_name: Option<String>,
    /// Tokens a window of text [default: what the data's metadata say]
    #[arg(long, value_name = "TOKENS")]
    context_size: Option<NonZeroUsize>,
    /// Text that the model read [default: what the data's metadata say]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    dataset_path: Option<String>,
}

impl MetadataSettings {
    /// What the flags say, and the data where they do not.
    pub fn over(&self, data: &Provenance) -> Provenance {
        Provenance {
            model_name: self.model_name.clone().or_else(|| data.model_name.clone()),
            hook_name: self.hook_name.clone().or_else(|| data.hook_name.clone()),
            context_size: self.context_size.map(NonZeroUsize::get).or(data.context_size),
            dataset_path: self.dataset_path.clone().or_else(|| data.dataset_path.clone()),
        }
    }
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
            learning_rate: training.lr.unwrap_or(usual.learning_rate),
            warmup_steps: training.warmup.unwrap_or(usual.warmup_steps),
            decay_steps: training.decay.unwrap_or(usual.decay_steps),
            clip: (training.clip != 0.0).then_some(training.clip),
            unit_norm_decoder: !self.model.rescale_acts_by_decoder_norm,
            moments: training.moments.with_seed(training.seed),
            ..usual
        };
        recipe.validate()?;
        Ok(recipe)
    }

    /// The same run with nothing left to be derived, so that it can be repeated from any directory.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no current directory.
    pub fn resolved(mut self, config: &SaeConfig, recipe: &Recipe) -> Result<Self> {
        self.model.features = Some(config.features);
        self.model.expansion = None;
        self.training.steps = Some(recipe.steps);
        self.training.tokens = None;
        self.training.lr = Some(recipe.learning_rate);
        self.training.warmup = Some(recipe.warmup_steps);
        self.training.decay = Some(recipe.decay_steps);
        for path in &mut self.data.data {
            *path = absolute(&*path).map_err(Error::io(&*path))?;
        }
        Ok(self)
    }
}

impl ModelSettings {
    /// With so many features where no number of them is given.
    pub fn or_features(mut self, features: usize) -> Self {
        if self.expansion.is_none() {
            self.features.get_or_insert(features);
        }
        self
    }

    /// The SAE for activations of a width.
    ///
    /// # Errors
    /// [`Error::Config`] naming what makes none.
    pub fn sae_config(&self, width: usize) -> Result<SaeConfig> {
        let features = match (self.features, self.expansion) {
            (None, None) => {
                return Err(Error::Config("neither --features nor --expansion is given: one is needed".into()));
            }
            (Some(features), _) => features,
            (None, expansion) => expansion
                .and_then(|expansion| width.checked_mul(expansion))
                .ok_or_else(|| Error::Config("--expansion makes more features than can be counted".into()))?,
        };
        let config = SaeConfig {
            d_in: width,
            features,
            k: self.k,
            rescale_acts_by_decoder_norm: self.rescale_acts_by_decoder_norm,
            apply_b_dec_to_input: true,
        };
        config.validate()?;
        Ok(config)
    }
}
