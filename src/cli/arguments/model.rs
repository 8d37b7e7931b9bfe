//! The SAE to train: architecture and sizes.

use clap::{ArgGroup, Args, ValueEnum};
use monosem::sae::{AuxK, AuxKForm, SaeConfig, TopK};
use monosem::{Error, Result};
use serde::Serialize;

use super::number::{Choice, count, or_default, positive};

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Model", group = ArgGroup::new("size").args(["features", "expansion"]))]
pub struct ModelArguments {
    /// Architecture of the SAE
    #[arg(long, default_value = "topk")]
    arch: Architecture,
    /// Number of features; it or --expansion is needed
    #[arg(long, visible_alias = "d-sae", value_name = "N", value_parser = count::<usize>, allow_hyphen_values = true)]
    pub features: Option<usize>,
    /// Number of features, as a multiple of the activations' width
    #[arg(long, value_name = "X", value_parser = count::<usize>, allow_hyphen_values = true)]
    pub expansion: Option<usize>,
    /// Active features per token (L0)
    #[arg(long, default_value_t = 32, value_parser = count::<usize>, allow_hyphen_values = true)]
    k: usize,
    /// Rank features by activation x decoder norm, and do not constrain decoder norms (as SAELens's TopK does)
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
    pub rescale_acts_by_decoder_norm: bool,
    /// Auxiliary loss that revives dead features: `normalised` by the variance of the error (OpenAI's), `saelens`, or
    /// none
    #[arg(long, default_value = "none", value_name = "none|normalised|saelens", hide_possible_values = true)]
    auxk: AuxKLoss,
    /// Factor of the auxiliary loss [default: 1/32 of the normalised loss, 1 of SAELens's]
    #[arg(long, value_name = "X|default", value_parser = or_default(positive), allow_hyphen_values = true)]
    pub auxk_coefficient: Option<Choice<f64>>,
    /// The most dead features per token in the auxiliary loss [default: half the width of the activations]
    #[arg(long, value_name = "K|default", value_parser = or_default(count::<usize>), allow_hyphen_values = true)]
    pub auxk_k: Option<Choice<usize>>,
}

/// The values of `--auxk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum AuxKLoss {
    #[default]
    None,
    Normalised,
    #[value(name = "saelens")]
    SaeLens,
}

/// The values of `--arch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Architecture {
    #[default]
    Topk,
}

impl ModelArguments {
    /// With this many features where the flags give no number.
    pub fn or_features(mut self, features: usize) -> Self {
        if self.expansion.is_none() {
            self.features.get_or_insert(features);
        }
        self
    }

    /// The auxiliary loss, if there is one.
    ///
    /// # Errors
    /// [`Error::Config`] if it has settings and is none.
    pub fn auxk(&self) -> Result<Option<AuxK>> {
        let (coefficient, most) = (self.auxk_coefficient.flatten(), self.auxk_k.flatten());
        let form = match self.auxk {
            AuxKLoss::None if coefficient.is_none() && most.is_none() => return Ok(None),
            AuxKLoss::None => {
                return Err(Error::Config(
                    "--auxk-coefficient and --auxk-k are of an auxiliary loss, and --auxk is none: give --auxk \
                     normalised or --auxk saelens as well"
                        .into(),
                ));
            }
            AuxKLoss::Normalised => AuxKForm::Normalised,
            AuxKLoss::SaeLens => AuxKForm::SaeLens,
        };
        let usual = AuxK::new(form);
        let coefficient = coefficient.unwrap_or(usual.coefficient);
        Ok(Some(AuxK { coefficient, most, ..usual }))
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
        let config = match self.arch {
            Architecture::Topk => {
                TopK { k: self.k, rescale_acts_by_decoder_norm: self.rescale_acts_by_decoder_norm, auxk: self.auxk()? }
            }
        };
        let config = SaeConfig { d_in: width, features, apply_b_dec_to_input: true, architecture: config.into() };
        config.validate()?;
        Ok(config)
    }
}
