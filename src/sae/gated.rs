//! Gated.

use serde::{Deserialize, Serialize};

use super::SaeConfig;
use super::description::{
    Description, EntryKind, FieldSpec, Inference, Input, Keep, KeyScale, ListSpec, Role, TensorSpec, Value, linear,
    reconstruction,
};
use super::validate_coefficient;
use crate::error::Result;

/// Gated ("Improving Dictionary Learning with Gated Sparse Autoencoders", Rajamanoharan et al. 2024): a gate decides
/// which features are active, and must reconstruct the input too; a scaled and shifted copy of it gives their values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gated {
    /// The coefficient of the penalty on the gate's values, λ.
    pub l1: f64,
    /// The penalty is weighted by the norms of the decoder rows (SAELens); dictionary_learning's is not.
    pub normed: bool,
    /// The gate's reconstruction trains neither the decoder nor its bias (dictionary_learning, the paper); SAELens's
    /// does.
    pub detached: bool,
    /// The most active features of a batch that are kept in a list; a batch with more is computed without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
}

impl Gated {
    /// One that is not to be trained.
    pub fn inference() -> Self {
        Self { l1: 1.0, normed: true, detached: false, capacity: None }
    }

    pub(super) fn validate(&self) -> Result<()> {
        validate_coefficient("the L1 coefficient", self.l1)
    }

    pub(super) fn describe(&self, config: &SaeConfig) -> Description {
        let Self { l1, normed, detached, capacity } = *self;
        let mut tensors: Vec<TensorSpec> =
            linear().into_iter().filter(|tensor| tensor.role != Role::EncoderBias).collect();
        let own = ["b_mag", "b_gate", "r_mag"].into_iter().enumerate();
        tensors.extend(own.map(|(number, name)| TensorSpec::own(number, name)));
        let entry = EntryKind::Gated { sparsity: l1, normed };
        let gate = FieldSpec { name: "gate".into(), value: Value::Gate, detached, ..reconstruction() };
        Description {
            tensors,
            lists: vec![ListSpec { keep: Keep::Admitted { capacity }, entry }],
            fields: vec![reconstruction(), gate],
            normalization: config.input_normalization,
            input: Input::of(config),
            key: KeyScale::One,
            closed_form: None,
            inference: Inference::Listed,
        }
    }
}
