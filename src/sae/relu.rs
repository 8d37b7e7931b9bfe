//! ReLU with an L1 penalty.

use serde::{Deserialize, Serialize};

use super::SaeConfig;
use super::description::{Description, EntryKind, Inference, Input, Keep, KeyScale, ListSpec, linear, reconstruction};
use super::validate_coefficient;
use crate::error::Result;

/// ReLU with an L1 penalty (`standard` in SAELens): every feature whose pre-activation is above 0 is active, and
/// penalised by `l1 · a · |W_dec row|` (Anthropic, April 2024 update) or by `l1 · a`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relu {
    /// The coefficient of the penalty, λ.
    pub l1: f64,
    /// The penalty is weighted by the norms of the decoder rows; without it they must be held at 1.
    pub normed: bool,
    /// The most active features of a batch that are kept in a list; a batch with more is computed without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
}

impl Relu {
    /// One that is not to be trained.
    pub fn inference() -> Self {
        Self { l1: 1.0, normed: true, capacity: None }
    }

    pub(super) fn validate(&self) -> Result<()> {
        validate_coefficient("the L1 coefficient", self.l1)
    }

    pub(super) fn describe(&self, config: &SaeConfig) -> Description {
        let Self { l1, normed, capacity } = *self;
        let entry = EntryKind::Relu { sparsity: l1, normed };
        Description {
            tensors: linear(),
            lists: vec![ListSpec { keep: Keep::Admitted { capacity }, entry }],
            fields: vec![reconstruction()],
            normalization: config.input_normalization,
            input: Input::of(config),
            key: KeyScale::One,
            closed_form: None,
            inference: Inference::Listed,
        }
    }
}
