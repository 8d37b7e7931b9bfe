//! What keeps features sparse where an SAE has no k: penalties and thresholds.

use clap::{Args, ValueEnum};
use monosem::sae::description::{Features, Penalty};
use monosem::sae::{Gated, JumpRelu, PreActivation, Relu};
use monosem::{Error, Result};
use serde::Serialize;

use super::number::{Choice, count, or_default, positive, positive_or_zero};

/// JumpReLU's window, for rows of W_enc of norm 1.
const BANDWIDTH: f64 = 0.2;

/// Anthropic's, January 2025.
const TANH_SCALE: f64 = 4.0;

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Model: relu, jumprelu and gated")]
pub struct PenaltyArguments {
    /// Coefficient of the L1 penalty; it is needed for relu and gated (Anthropic's is 5, for rows of norm sqrt(d) on
    /// average)
    #[arg(long, value_name = "X", value_parser = positive_or_zero, allow_hyphen_values = true)]
    l1: Option<f64>,
    /// Weight the L1 penalty by decoder norms, and do not constrain them [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false",
          hide_possible_values = true)]
    l1_by_decoder_norm: Option<bool>,
    /// Coefficient of jumprelu's sparsity penalty; it is needed for jumprelu
    #[arg(long, value_name = "X", value_parser = positive_or_zero, allow_hyphen_values = true)]
    l0_coefficient: Option<f64>,
    /// Sparsity penalty of jumprelu [default: step]
    #[arg(long, value_name = "step|quadratic|tanh", hide_possible_values = true)]
    sparsity_penalty: Option<PenaltyKind>,
    /// Active features per token that the quadratic penalty pulls towards; it is needed for that penalty
    #[arg(long, value_name = "L0", value_parser = positive, allow_hyphen_values = true)]
    target_l0: Option<f64>,
    /// Factor of activations in the tanh penalty [default: 4]
    #[arg(long, value_name = "X|default", value_parser = or_default(positive), allow_hyphen_values = true)]
    tanh_scale: Option<Choice<f64>>,
    /// Width of the window about jumprelu's thresholds that trains them [default: 0.2]
    #[arg(long, value_name = "X|default", value_parser = or_default(positive), allow_hyphen_values = true)]
    bandwidth: Option<Choice<f64>>,
    /// Let jumprelu's window train the encoder, too (Anthropic's) [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false",
          hide_possible_values = true)]
    straight_through_to_input: Option<bool>,
    /// Train the logarithms of jumprelu's thresholds [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false",
          hide_possible_values = true)]
    log_threshold: Option<bool>,
    /// Coefficient of jumprelu's penalty on pre-activations below their threshold [default: none]
    #[arg(long, value_name = "X", value_parser = positive, allow_hyphen_values = true)]
    pre_act_coefficient: Option<f64>,
    /// The features that have it: `dead` (SAELens), or `all` (Anthropic) [default: dead]
    #[arg(long, value_name = "dead|all", hide_possible_values = true)]
    pre_act_of: Option<FeaturesKind>,
    /// The most active features of a batch that fit its list [default: an eighth of rows x features, 65,536 to 4M]
    #[arg(long, value_name = "N|default", value_parser = or_default(count::<u64>), allow_hyphen_values = true)]
    list_capacity: Option<Choice<u64>>,
}

/// The values of `--sparsity-penalty`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum PenaltyKind {
    Step,
    Quadratic,
    Tanh,
}

/// The values of `--pre-act-of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum FeaturesKind {
    Dead,
    All,
}

impl PenaltyArguments {
    /// The flags that are given, each with the architectures that it is for.
    pub fn given(&self) -> Vec<(&'static str, &'static [&'static str])> {
        let (l1, jumprelu): (&'static [&'static str], &'static [&'static str]) = (&["relu", "gated"], &["jumprelu"]);
        let all: &'static [&'static str] = &["relu", "jumprelu", "gated"];
        let flags = [
            (self.l1.is_some(), "--l1", l1),
            (self.l1_by_decoder_norm.is_some(), "--l1-by-decoder-norm", l1),
            (self.l0_coefficient.is_some(), "--l0-coefficient", jumprelu),
            (self.sparsity_penalty.is_some(), "--sparsity-penalty", jumprelu),
            (self.target_l0.is_some(), "--target-l0", jumprelu),
            (self.tanh_scale.flatten().is_some(), "--tanh-scale", jumprelu),
            (self.bandwidth.flatten().is_some(), "--bandwidth", jumprelu),
            (self.straight_through_to_input.is_some(), "--straight-through-to-input", jumprelu),
            (self.log_threshold.is_some(), "--log-threshold", jumprelu),
            (self.pre_act_coefficient.is_some(), "--pre-act-coefficient", jumprelu),
            (self.pre_act_of.is_some(), "--pre-act-of", jumprelu),
            (self.list_capacity.flatten().is_some(), "--list-capacity", all),
        ];
        flags.into_iter().filter(|(given, ..)| *given).map(|(_, flag, of)| (flag, of)).collect()
    }

    /// Whether the L1 penalty leaves decoder norms free, as its weights hold them.
    pub fn l1_by_decoder_norm(&self) -> bool {
        self.l1_by_decoder_norm.unwrap_or(true)
    }

    /// ReLU's settings.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no coefficient.
    pub fn relu(&self) -> Result<Relu> {
        Ok(Relu { l1: self.l1("relu")?, normed: self.l1_by_decoder_norm(), capacity: self.list_capacity.flatten() })
    }

    /// Gated's settings.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no coefficient.
    pub fn gated(&self) -> Result<Gated> {
        let normed = self.l1_by_decoder_norm();
        let capacity = self.list_capacity.flatten();
        // SAELens's form goes with its penalty, dictionary_learning's with the other.
        Ok(Gated { l1: self.l1("gated")?, normed, detached: !normed, capacity })
    }

    /// JumpReLU's settings.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is missing, or does not belong to the penalty.
    pub fn jumprelu(&self) -> Result<JumpRelu> {
        let needs = |flag: &str, of: &str| Error::Config(format!("{of} needs {flag}: give one"));
        let foreign =
            |flag: &str, of: &str| Error::Config(format!("{flag} is of --sparsity-penalty {of}, another is chosen"));
        let kind = self.sparsity_penalty.unwrap_or(PenaltyKind::Step);
        if self.target_l0.is_some() && kind != PenaltyKind::Quadratic {
            return Err(foreign("--target-l0", "quadratic"));
        }
        if self.tanh_scale.flatten().is_some() && kind != PenaltyKind::Tanh {
            return Err(foreign("--tanh-scale", "tanh"));
        }
        if self.pre_act_of.is_some() && self.pre_act_coefficient.is_none() {
            return Err(needs("--pre-act-coefficient", "--pre-act-of"));
        }
        let penalty = match kind {
            PenaltyKind::Step => Penalty::Step,
            PenaltyKind::Quadratic => {
                let target = self.target_l0.ok_or_else(|| needs("--target-l0", "--sparsity-penalty quadratic"))?;
                Penalty::Quadratic { target }
            }
            PenaltyKind::Tanh => Penalty::Tanh { scale: self.tanh_scale.flatten().unwrap_or(TANH_SCALE) },
        };
        let of = match self.pre_act_of {
            None | Some(FeaturesKind::Dead) => Features::Dead,
            Some(FeaturesKind::All) => Features::All,
        };
        Ok(JumpRelu {
            penalty,
            l0: self.l0_coefficient.ok_or_else(|| needs("--l0-coefficient", "--arch jumprelu"))?,
            bandwidth: self.bandwidth.flatten().unwrap_or(BANDWIDTH),
            straight_through_to_input: self.straight_through_to_input.unwrap_or(false),
            log_threshold: self.log_threshold.unwrap_or(false),
            pre_activation: self.pre_act_coefficient.map(|coefficient| PreActivation { coefficient, of }),
            capacity: self.list_capacity.flatten(),
        })
    }

    fn l1(&self, arch: &str) -> Result<f64> {
        self.l1.ok_or_else(|| {
            Error::Config(format!(
                "--arch {arch} needs --l1, the coefficient of its penalty: it depends on the scale of the rows \
                 (Anthropic's is 5, for rows of norm sqrt(d) on average)"
            ))
        })
    }
}
