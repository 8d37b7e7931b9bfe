//! AuxK, the auxiliary loss of dead features.

use serde::{Deserialize, Serialize};

use super::SaeConfig;
use super::description::{Counted, Description, Factor, FieldSpec, Keep, ListSpec, Target, reconstruction};
use crate::error::{Error, Result};

/// AuxK ("Scaling and evaluating sparse autoencoders", Gao et al. 2024, appendix A.2): the dead features with the
/// largest keys of each row, `d_in / 2` of them, learn to reconstruct what the main list leaves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuxK {
    /// Which of the published losses.
    pub form: AuxKForm,
    /// The factor of the loss.
    pub coefficient: f64,
    /// The most dead features per row, instead of `d_in / 2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
}

/// The published forms of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuxKForm {
    /// OpenAI's: of rectified values, as a fraction of the variance of the main field's error. It is multiplied by the
    /// variance of the rows, as the main loss is not divided by it, so that a coefficient means the same at every scale
    /// of the rows. What the batch makes fire is not dead.
    Normalised,
    /// SAELens's: of raw values, times the share of `d_in / 2` dead features that there are.
    SaeLens,
}

impl AuxK {
    /// A form with its authors' coefficient: 1/32 of the normalised loss, the whole of SAELens's.
    pub fn new(form: AuxKForm) -> Self {
        let coefficient = match form {
            AuxKForm::Normalised => 1.0 / 32.0,
            AuxKForm::SaeLens => 1.0,
        };
        Self { form, coefficient, most: None }
    }

    pub(super) fn validate(&self, config: &SaeConfig) -> Result<()> {
        let Self { coefficient, most, .. } = *self;
        // The device computes in f32.
        let positive = (coefficient as f32).is_normal() && coefficient > 0.0;
        if !positive {
            return Err(Error::Config(format!(
                "the coefficient of AuxK is {coefficient}: it must be above 0, and f32 must hold it"
            )));
        }
        if self.most(config) == 0 {
            let reason =
                if most.is_some() { "it is given as 0" } else { "it is half the width of the rows, rounded down" };
            return Err(Error::Config(format!("AuxK takes no dead feature per row ({reason}): it needs at least 1")));
        }
        if let Some(most) = most.filter(|most| *most > config.features) {
            return Err(Error::Config(format!(
                "AuxK cannot take {most} dead features per row: there are {} features",
                config.features
            )));
        }
        Ok(())
    }

    /// The most dead features per row of an SAE.
    pub fn most(&self, config: &SaeConfig) -> usize {
        self.most.unwrap_or(config.d_in / 2)
    }

    /// Adds its list, and the field that it is decoded to.
    pub(super) fn add_to(&self, description: &mut Description, config: &SaeConfig) {
        let (raw, counted, factor) = match self.form {
            AuxKForm::Normalised => (false, Counted::WithThisBatch, Factor::VarianceRatio),
            AuxKForm::SaeLens => (true, Counted::Before, Factor::ShareOfDead),
        };
        let main = description.fields.len() - 1;
        let list = description.lists.len();
        let keep = Keep::Dead { most: self.most(config), raw, counted };
        description.lists.push(ListSpec::top(keep));
        description.fields.push(FieldSpec {
            name: "auxk".into(),
            list,
            target: Target::ErrorOf(main),
            bias: false,
            weight: self.coefficient,
            factor,
            ..reconstruction()
        });
    }
}
