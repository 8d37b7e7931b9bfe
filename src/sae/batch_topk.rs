//! BatchTopK.

use serde::{Deserialize, Serialize};

use super::SaeConfig;
use super::auxk::AuxK;
use super::description::{Description, Inference, Keep, ListSpec};
use super::topk::TopK;
use crate::error::Result;

/// BatchTopK ("BatchTopK Sparse Autoencoders", Bussmann et al. 2024): of a batch of `B` rows the `k · B` pairs of a row
/// and a feature with the largest keys are kept. Once trained, a feature is active where its key exceeds a threshold,
/// about the smallest key that training kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchTopK {
    /// Active features per row, on average.
    pub k: usize,
    /// Ranks and reports features by `u · |W_dec row|` instead of `u` (SAELens's option of this name).
    pub rescale_acts_by_decoder_norm: bool,
    /// The auxiliary loss that revives dead features, if it is trained with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auxk: Option<AuxK>,
}

impl BatchTopK {
    /// `k` features per row, ranked by their pre-activations, without an auxiliary loss.
    pub fn new(k: usize) -> Self {
        Self { k, rescale_acts_by_decoder_norm: false, auxk: None }
    }

    pub(super) fn validate(&self, config: &SaeConfig) -> Result<()> {
        self.per_row().validate(config)
    }

    pub(super) fn describe(&self, config: &SaeConfig) -> Description {
        let main = ListSpec::top(Keep::PerBatch { per_row: self.k });
        Description { inference: Inference::Threshold, ..self.per_row().describe_with(main, config) }
    }

    fn per_row(&self) -> TopK {
        let Self { k, rescale_acts_by_decoder_norm, auxk } = *self;
        TopK { k, rescale_acts_by_decoder_norm, auxk }
    }
}
