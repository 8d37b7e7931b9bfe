//! JumpReLU.

use serde::{Deserialize, Serialize};

use super::SaeConfig;
use super::description::{
    ClosedForm, Description, EntryKind, Features, Inference, Input, JumpReluEntry, Keep, KeyScale, ListSpec, Penalty,
    TensorSpec, linear, reconstruction,
};
use super::validate_coefficient;
use crate::error::{Error, Result};

/// JumpReLU ("Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders", Rajamanoharan et al.
/// 2024): a feature is active where its pre-activation exceeds its own threshold, which is trained by a
/// straight-through estimate. Also what SAEs that were trained with BatchTopK are read as.
///
/// A threshold that an update takes below 0 becomes 0, as in SAELens: below it, negative values would be active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JumpRelu {
    /// The penalty on active features.
    #[serde(flatten)]
    pub penalty: Penalty,
    /// Its coefficient, λ.
    pub l0: f64,
    /// The width of the window about the threshold in which its gradient is estimated, ε.
    pub bandwidth: f64,
    /// The estimate is a gradient of the pre-activations, too (Anthropic, January 2025 update).
    #[serde(default)]
    pub straight_through_to_input: bool,
    /// Trains the thresholds' logarithms instead of the thresholds ("Jumping Ahead", Anthropic; SAELens trains the
    /// thresholds).
    #[serde(default)]
    pub log_threshold: bool,
    /// A penalty on pre-activations below the threshold, which revives dead features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_activation: Option<PreActivation>,
    /// The most entries of a batch that are kept in a list; a batch with more is computed without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
}

/// A penalty on pre-activations below their thresholds, `coefficient · Σ (t - u) |W_dec row|` (Anthropic, January 2025
/// update).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreActivation {
    /// Its coefficient, λ_P.
    pub coefficient: f64,
    /// All features (Anthropic), or those that are dead (SAELens).
    pub of: Features,
}

impl JumpRelu {
    /// One that is not to be trained.
    pub fn inference() -> Self {
        Self {
            penalty: Penalty::Step,
            l0: 1.0,
            bandwidth: 0.05,
            straight_through_to_input: false,
            log_threshold: false,
            pre_activation: None,
            capacity: None,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        validate_coefficient("the L0 coefficient", self.l0)?;
        if !((self.bandwidth as f32).is_normal() && self.bandwidth > 0.0) {
            return Err(Error::Config(format!(
                "the bandwidth of JumpReLU is {}: it must be above 0, and f32 must hold it",
                self.bandwidth
            )));
        }
        match self.penalty {
            Penalty::Step => {}
            Penalty::Quadratic { target: number } | Penalty::Tanh { scale: number } => {
                if !((number as f32).is_normal() && number > 0.0) {
                    return Err(Error::Config(format!(
                        "the penalty's target or scale is {number}: it must be above 0, and f32 must hold it"
                    )));
                }
            }
        }
        self.pre_activation
            .map_or(Ok(()), |loss| validate_coefficient("the coefficient of the pre-activation loss", loss.coefficient))
    }

    pub(super) fn describe(&self, config: &SaeConfig) -> Description {
        let Self { penalty, l0, bandwidth, straight_through_to_input, log_threshold, pre_activation, capacity } = *self;
        let mut tensors = linear();
        tensors.push(TensorSpec { non_negative: !log_threshold, ..TensorSpec::own(0, "threshold") });
        let entry = JumpReluEntry {
            penalty,
            sparsity: l0,
            bandwidth,
            to_input: straight_through_to_input,
            log: log_threshold,
            pre_activation: pre_activation.is_some(),
        };
        Description {
            tensors,
            lists: vec![ListSpec { keep: Keep::Admitted { capacity }, entry: EntryKind::JumpRelu(entry) }],
            fields: vec![reconstruction()],
            normalization: config.input_normalization,
            input: Input::of(config),
            key: KeyScale::One,
            closed_form: pre_activation.map(|PreActivation { coefficient, of }| ClosedForm { coefficient, of }),
            inference: Inference::Listed,
        }
    }
}
