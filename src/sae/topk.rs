//! TopK.

use serde::{Deserialize, Serialize};

use super::SaeConfig;
use super::auxk::AuxK;
use super::description::{Description, Inference, Input, Keep, KeyScale, ListSpec, linear, reconstruction};
use crate::error::{Error, Result};

/// TopK ("Scaling and evaluating sparse autoencoders", Gao et al. 2024, section 2.3): of each row the `k` features with
/// the largest keys are kept and rectified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    /// Active features per row.
    pub k: usize,
    /// Ranks and reports features by `u · |W_dec row|` instead of `u` (SAELens's option of this name).
    pub rescale_acts_by_decoder_norm: bool,
    /// The auxiliary loss that revives dead features, if it is trained with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auxk: Option<AuxK>,
}

impl TopK {
    /// `k` features per row, ranked by their pre-activations, without an auxiliary loss.
    pub fn new(k: usize) -> Self {
        Self { k, rescale_acts_by_decoder_norm: false, auxk: None }
    }

    pub(super) fn validate(&self, config: &SaeConfig) -> Result<()> {
        let Self { k, auxk, .. } = self;
        if *k == 0 || *k > config.features {
            return Err(Error::Config(format!(
                "k is {k}: it must be at least 1 and at most the number of features, {}",
                config.features
            )));
        }
        auxk.as_ref().map_or(Ok(()), |auxk| auxk.validate(config))
    }

    pub(super) fn describe(&self, config: &SaeConfig) -> Description {
        self.describe_with(ListSpec::top(Keep::PerRow { k: self.k }), config)
    }

    /// With another main list.
    pub(super) fn describe_with(&self, main: ListSpec, config: &SaeConfig) -> Description {
        let scale = if self.rescale_acts_by_decoder_norm { KeyScale::DecoderNorm } else { KeyScale::One };
        let mut description = Description {
            tensors: linear(),
            lists: vec![main],
            fields: vec![reconstruction()],
            normalization: config.input_normalization,
            input: Input::of(config),
            key: scale,
            closed_form: None,
            inference: Inference::Listed,
        };
        if let Some(auxk) = &self.auxk {
            auxk.add_to(&mut description, config);
        }
        description
    }
}
