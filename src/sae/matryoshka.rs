//! Matryoshka BatchTopK.

use serde::{Deserialize, Serialize};

use super::SaeConfig;
use super::auxk::AuxK;
use super::batch_topk::BatchTopK;
use super::description::{Description, FieldSpec};
use crate::error::{Error, Result};

/// Matryoshka SAEs ("Learning Multi-Level Features with Matryoshka Sparse Autoencoders", Bussmann et al. 2025):
/// BatchTopK whose first features, of each of several widths, must reconstruct the input on their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matryoshka {
    /// Active features per row, on average.
    pub k: usize,
    /// The widths, ascending; the last is all features.
    pub widths: Vec<usize>,
    /// The weight of each width's squared error; 1 each if there are none (SAELens). dictionary_learning's are those
    /// of its `group_weights` divided by the number of groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
    /// Ranks and reports features by `u · |W_dec row|` instead of `u` (SAELens's option of this name).
    pub rescale_acts_by_decoder_norm: bool,
    /// The auxiliary loss that revives dead features, if it is trained with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auxk: Option<AuxK>,
}

/// The most widths, so that a loss has a name and a field room.
const MOST_WIDTHS: usize = 16;

impl Matryoshka {
    pub(super) fn validate(&self, config: &SaeConfig) -> Result<()> {
        let Self { widths, weights, .. } = self;
        let features = config.features;
        let ascend = widths.first().is_some_and(|first| *first > 0) && widths.is_sorted_by(|a, b| a < b);
        if !ascend || widths.last() != Some(&features) || widths.len() > MOST_WIDTHS {
            return Err(Error::Config(format!(
                "Matryoshka's widths are {widths:?}: they must ascend from at least 1 to the number of features, \
                 {features}, and be at most {MOST_WIDTHS}"
            )));
        }
        if let Some(weights) = weights {
            if weights.len() != widths.len() {
                let (weights, widths) = (weights.len(), widths.len());
                return Err(Error::Config(format!("{weights} weights for {widths} widths: give one for each")));
            }
            if let Some(bad) = weights.iter().find(|weight| !(**weight > 0.0 && (**weight as f32).is_normal())) {
                return Err(Error::Config(format!(
                    "a weight of Matryoshka's widths is {bad}: it must be above 0, and f32 must hold it"
                )));
            }
        }
        self.batch_topk().validate(config)
    }

    pub(super) fn describe(&self, config: &SaeConfig) -> Description {
        let weight = |level: usize| self.weights.as_ref().map_or(1.0, |weights| weights[level]);
        let last = self.widths.len() - 1;
        let mut description = BatchTopK { auxk: None, ..self.batch_topk() }.describe(config);
        let [field] =
            <[FieldSpec; 1]>::try_from(description.fields).unwrap_or_else(|_| unreachable!("one without AuxK"));
        description.fields = self
            .widths
            .iter()
            .enumerate()
            .map(|(level, width)| FieldSpec {
                name: if level == last { field.name.clone() } else { format!("inner_mse_{width}") },
                below: (level < last).then_some(*width),
                weight: weight(level),
                ..field.clone()
            })
            .collect();
        if let Some(auxk) = &self.auxk {
            auxk.add_to(&mut description, config);
        }
        description
    }

    fn batch_topk(&self) -> BatchTopK {
        let Self { k, rescale_acts_by_decoder_norm, auxk, .. } = *self;
        BatchTopK { k, rescale_acts_by_decoder_norm, auxk }
    }
}
