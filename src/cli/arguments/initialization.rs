//! Where a run starts.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use monosem::run::{Start, StartingSae};
use monosem::sae::{Architecture, SaeConfig};
use monosem::train::{BiasStart, EncoderStart, Initialization, Recipe, SparsityStart};
use monosem::{Error, Result};
use serde::Serialize;

use super::number::{Choice, or_default, positive, positive_or_zero, unless};

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Initial weights")]
pub struct InitializationArguments {
    /// Start from this SAE (a run, a checkpoint or a directory in SAELens's layout) instead of weights that are drawn;
    /// sizes and architecture must be the same [default: none]
    #[arg(long, value_name = "DIR|none", value_parser = unless(&["none"], path))]
    pub init: Option<Choice<PathBuf>>,
    #[command(flatten)]
    #[serde(flatten)]
    drawn: DrawnArguments,
}

/// How initial weights are drawn.
#[derive(Args, Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Initial weights")]
pub struct DrawnArguments {
    /// Norm of the decoder rows, whose directions are drawn [default: 1]
    #[arg(long, value_name = "X|default", value_parser = or_default(positive), allow_hyphen_values = true)]
    init_decoder_norm: Option<Choice<f64>>,
    /// Encoder: equal to the decoder, linear (uniform in +-1/sqrt(d) along the decoder, as torch.nn.Linear), matched
    /// (the same, scaled to reconstruct rows of norm 1 at norm 1), or shared (the decoder times d/features) [default:
    /// decoder]
    #[arg(long, value_name = "decoder|linear|matched|shared|default", value_parser = or_default(variant::<Encoder>))]
    init_encoder: Option<Choice<Encoder>>,
    /// b_dec: the geometric median of the first batch, its mean, or zero [default: median]
    #[arg(long, value_name = "median|mean|zero|default", value_parser = or_default(variant::<Bias>))]
    init_b_dec: Option<Choice<Bias>>,
    /// Active features per token of relu, jumprelu and gated, by a quantile for each feature [default: 256, at most a
    /// sixteenth of the features]
    #[arg(long, value_name = "L0|default", value_parser = or_default(positive), allow_hyphen_values = true)]
    init_l0: Option<Choice<f64>>,
    /// Thresholds of relu (its biases, negated), jumprelu and gated, instead of quantiles; jumprelu with --init-l0, too,
    /// has its biases at quantiles [default: none]
    #[arg(long, value_name = "X|none", value_parser = unless(&["none"], positive_or_zero), allow_hyphen_values = true)]
    init_threshold: Option<Choice<f64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Encoder {
    Decoder,
    Linear,
    Matched,
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Bias {
    Median,
    Mean,
    Zero,
}

fn path(text: &str) -> std::result::Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.into()) }
}

/// One of the values of an enumeration, by its name.
pub fn variant<T: ValueEnum>(text: &str) -> std::result::Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let names =
            T::value_variants().iter().filter_map(|variant| Some(variant.to_possible_value()?.get_name().to_owned()));
        format!("not one of {}", names.collect::<Vec<_>>().join(", "))
    })
}

impl InitializationArguments {
    /// The SAE to start from, if there is one.
    pub fn sae(&self) -> Option<&Path> {
        self.init.as_ref().and_then(|choice| choice.as_deref())
    }

    /// Where a run of this SAE starts.
    ///
    /// # Errors
    /// [`Error::Config`] if settings contradict each other; those of the SAE to start from.
    pub fn start(&self, config: &SaeConfig, recipe: &Recipe) -> Result<Start> {
        if let Some(path) = self.sae() {
            if self.drawn.are_given() {
                return Err(Error::Config(
                    "--init starts from the weights of an SAE, and the other --init flags say how weights are drawn: give \
                     only one of both"
                        .into(),
                ));
            }
            return Ok(Start::Sae(StartingSae::open(path, config, recipe)?));
        }
        let initialization = self.drawn.initialization(&config.architecture)?;
        if recipe.unit_norm_decoder && initialization.decoder_norm != 1.0 {
            return Err(Error::Config(format!(
                "--init-decoder-norm is {}, and the first step would set the norms to 1: give --decoder-rule free",
                initialization.decoder_norm
            )));
        }
        Ok(Start::Drawn(initialization))
    }
}

impl DrawnArguments {
    fn are_given(&self) -> bool {
        let Self { init_decoder_norm, init_encoder, init_b_dec, init_l0, init_threshold } = self;
        init_decoder_norm.flatten().is_some()
            || init_encoder.flatten().is_some()
            || init_b_dec.flatten().is_some()
            || init_l0.flatten().is_some()
            || init_threshold.flatten().is_some()
    }

    /// How the weights of such an SAE are drawn.
    ///
    /// # Errors
    /// [`Error::Config`] if settings contradict each other.
    pub fn initialization(&self, architecture: &Architecture) -> Result<Initialization> {
        let sparsity = match (self.init_l0.flatten(), self.init_threshold.flatten()) {
            (Some(active), Some(threshold)) if matches!(architecture, Architecture::JumpRelu(_)) => {
                SparsityStart::Biased { threshold, active }
            }
            (Some(_), Some(_)) => {
                return Err(Error::Config(
                    "--init-l0 finds the thresholds that --init-threshold gives: give only one of both (jumprelu has \
                     biases, too, and takes both)"
                        .into(),
                ));
            }
            (active, None) => SparsityStart::Active(active),
            (None, Some(threshold)) => SparsityStart::Threshold(threshold),
        };
        let usual = Initialization::default();
        Ok(Initialization {
            decoder_norm: self.init_decoder_norm.flatten().unwrap_or(usual.decoder_norm),
            encoder: self.init_encoder.flatten().map_or(usual.encoder, |encoder| match encoder {
                Encoder::Decoder => EncoderStart::Decoder,
                Encoder::Linear => EncoderStart::Linear,
                Encoder::Matched => EncoderStart::Matched,
                Encoder::Shared => EncoderStart::Shared,
            }),
            b_dec: self.init_b_dec.flatten().map_or(usual.b_dec, |bias| match bias {
                Bias::Median => BiasStart::Median,
                Bias::Mean => BiasStart::Mean,
                Bias::Zero => BiasStart::Zero,
            }),
            sparsity,
        })
    }
}
