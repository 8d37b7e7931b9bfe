//! The SAE to train: architecture and sizes.

use clap::{ArgGroup, Args, ValueEnum};
use monosem::sae::{AuxK, AuxKForm, BatchTopK, Matryoshka, SaeConfig, TopK};
use monosem::train::KAnnealing;
use monosem::{Error, Result};
use serde::Serialize;

use super::number::{Choice, count, or_default, positive};
use super::penalty::PenaltyArguments;
use super::schedule::Stretch;

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Model", group = ArgGroup::new("size").args(["features", "expansion"]))]
pub struct ModelArguments {
    /// Architecture of the SAE
    #[arg(long, default_value = "topk", value_name = "ARCH")]
    arch: Architecture,
    /// Number of features; it or --expansion is needed
    #[arg(long, visible_alias = "d-sae", value_name = "N", value_parser = count::<usize>, allow_hyphen_values = true)]
    pub features: Option<usize>,
    /// Number of features, as a multiple of the activations' width
    #[arg(long, value_name = "X", value_parser = count::<usize>, allow_hyphen_values = true)]
    pub expansion: Option<usize>,
    /// Active features per token (L0): of each for topk, on average for batchtopk and matryoshka [default: 32]
    #[arg(long, value_name = "K|default", value_parser = or_default(count::<usize>), allow_hyphen_values = true)]
    k: Option<Choice<usize>>,
    /// k of the first step, from which it falls to --k in a straight line over the steps of --k-anneal [default: none]
    #[arg(long, value_name = "K|default", value_parser = or_default(count::<usize>), allow_hyphen_values = true)]
    k_start: Option<Choice<usize>>,
    /// Steps in which k falls from --k-start, which needs it: a number, or a share of all such as 5% [default: none]
    #[arg(
        long,
        visible_alias = "k-anneal-steps",
        value_name = "STEPS|PERCENT|default",
        value_parser = or_default(Stretch::parse),
        allow_hyphen_values = true
    )]
    k_anneal: Option<Choice<Stretch>>,
    /// Features of each level of matryoshka but the last, which has all [default: 1/32, 3/32, 7/32 and 15/32 of them]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = count::<usize>, allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    widths: Vec<usize>,
    /// Weight of each level's squared error, the last one's included [default: 1 each]
    #[arg(long, value_name = "X,..", value_delimiter = ',', value_parser = positive, allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    width_weights: Vec<f64>,
    /// Subtract b_dec from the rows before they are encoded
    #[arg(
        long,
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_name = "true|false",
        hide_possible_values = true
    )]
    apply_b_dec_to_input: bool,
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
    rescale_acts_by_decoder_norm: bool,
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
    #[command(flatten)]
    #[serde(flatten)]
    penalty: PenaltyArguments,
}

/// Active features per token where no number is given.
const K: usize = 32;

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
    Batchtopk,
    Matryoshka,
    Relu,
    Jumprelu,
    Gated,
}

impl Architecture {
    fn name(self) -> &'static str {
        match self {
            Self::Topk => "topk",
            Self::Batchtopk => "batchtopk",
            Self::Matryoshka => "matryoshka",
            Self::Relu => "relu",
            Self::Jumprelu => "jumprelu",
            Self::Gated => "gated",
        }
    }
}

/// The architectures that rank features.
const RANKED: &[&str] = &["topk", "batchtopk", "matryoshka"];

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
        self.refuse_foreign_flags()?;
        let (k, rescale_acts_by_decoder_norm) = (self.k(), self.rescale_acts_by_decoder_norm);
        let architecture: monosem::sae::Architecture = match self.arch {
            Architecture::Topk => TopK { k, rescale_acts_by_decoder_norm, auxk: self.auxk()? }.into(),
            Architecture::Batchtopk => BatchTopK { k, rescale_acts_by_decoder_norm, auxk: self.auxk()? }.into(),
            Architecture::Matryoshka => {
                let widths = self.widths(features);
                let weights = (!self.width_weights.is_empty()).then(|| self.width_weights.clone());
                Matryoshka { k, widths, weights, rescale_acts_by_decoder_norm, auxk: self.auxk()? }.into()
            }
            Architecture::Relu => self.penalty.relu()?.into(),
            Architecture::Jumprelu => self.penalty.jumprelu()?.into(),
            Architecture::Gated => self.penalty.gated()?.into(),
        };
        let config = SaeConfig {
            apply_b_dec_to_input: self.apply_b_dec_to_input,
            ..SaeConfig::new(width, features, architecture)
        };
        config.validate()?;
        Ok(config)
    }

    /// Whether decoder rows are held at norm 1.
    pub fn has_unit_norm_decoder(&self) -> bool {
        match self.arch {
            Architecture::Topk | Architecture::Batchtopk | Architecture::Matryoshka => {
                !self.rescale_acts_by_decoder_norm
            }
            Architecture::Relu | Architecture::Gated => !self.penalty.l1_by_decoder_norm(),
            Architecture::Jumprelu => false,
        }
    }

    /// Active features per token.
    fn k(&self) -> usize {
        self.k.flatten().unwrap_or(K)
    }

    /// Active features per token in the first step, if they are to fall.
    pub fn k_start(&self) -> Option<usize> {
        self.k_start.flatten()
    }

    /// How k falls in a run of `steps` steps, if it does.
    ///
    /// # Errors
    /// [`Error::Config`] if only its start or its length is given.
    pub fn k_annealing(&self, steps: u64) -> Result<Option<KAnnealing>> {
        match (self.k_start(), self.k_anneal.flatten()) {
            (None, None) => Ok(None),
            (Some(start), Some(stretch)) => Ok(Some(KAnnealing { start, steps: stretch.of(steps) })),
            (start, _) => {
                let (one, other) = if start.is_some() { ("start", "anneal") } else { ("anneal", "start") };
                Err(Error::Config(format!(
                    "--k-{one} is given without --k-{other}: k falls from --k-start to --k over \
                                           the steps of --k-anneal"
                )))
            }
        }
    }

    /// Keeps the steps in which k falls, where they would follow from another number of steps.
    pub fn keep_fall(&mut self, annealing: Option<KAnnealing>) {
        if let (Some(KAnnealing { steps, .. }), Some(_)) = (annealing, self.k_anneal.flatten()) {
            self.k_anneal = Some(Some(Stretch::Steps(steps)));
        }
    }

    /// The widths of Matryoshka's levels, the last one's included.
    fn widths(&self, features: usize) -> Vec<usize> {
        // dictionary_learning_demo's groups: 1/32, 1/16, 1/8, 1/4 and the rest.
        let usual =
            || [1, 3, 7, 15].map(|share| features * share / 32).into_iter().filter(|width| *width > 0).collect();
        let mut widths = if self.widths.is_empty() { usual() } else { self.widths.clone() };
        widths.dedup();
        if widths.last() != Some(&features) {
            widths.push(features);
        }
        widths
    }

    /// Fails if a flag is given that this architecture has no use for.
    fn refuse_foreign_flags(&self) -> Result<()> {
        let mut given = self.penalty.given();
        given.extend(self.k.flatten().map(|_| ("--k", RANKED)));
        given.extend(self.k_start().map(|_| ("--k-start", RANKED)));
        given.extend(self.k_anneal.flatten().map(|_| ("--k-anneal", RANKED)));
        given.extend((!self.widths.is_empty()).then_some(("--widths", &["matryoshka"][..])));
        given.extend((!self.width_weights.is_empty()).then_some(("--width-weights", &["matryoshka"][..])));
        given.extend(self.rescale_acts_by_decoder_norm.then_some(("--rescale-acts-by-decoder-norm", RANKED)));
        given.extend((self.auxk != AuxKLoss::None).then_some(("--auxk", RANKED)));
        let arch = self.arch.name();
        match given.iter().find(|(_, of)| !of.contains(&arch)) {
            None => Ok(()),
            Some((flag, of)) => {
                let of = of.join(", ");
                Err(Error::Config(format!(
                    "{flag} is of --arch {of}, not {arch}: leave it out, or choose another --arch"
                )))
            }
        }
    }

    /// Active features per token, where the architecture fixes their number.
    pub fn fixed_k(&self) -> Option<usize> {
        RANKED.contains(&self.arch.name()).then(|| self.k())
    }
}
