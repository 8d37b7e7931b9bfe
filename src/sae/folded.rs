//! SAEs of scaled rows, as those of the rows as they are.

use super::description::{Role, TensorSpec};
use super::{SaeConfig, Weights};
use crate::data::Provenance;
use crate::error::Result;

/// Weights for rows times a factor, as those of the same SAE for the rows themselves: `W_enc s`, `W_dec / s`,
/// `b_dec / s`. Activations and thresholds are the same (SAELens's `fold_activation_norm_scaling_factor`), but for those
/// of TopK that are reported times the norms of decoder rows, which are divided by `s` as these are.
pub struct Folded<W> {
    weights: W,
    factor: f64,
}

impl<W: Weights> Folded<W> {
    /// Weights for rows times `factor`.
    pub fn new(weights: W, factor: f64) -> Self {
        Self { weights, factor }
    }
}

/// Folds the factor of the rows into values of a tensor.
pub(super) fn fold(tensor: &TensorSpec, factor: f64, values: &mut [f32]) {
    let by = match tensor.role {
        Role::Encoder => factor,
        Role::Decoder | Role::OutputBias => 1.0 / factor,
        Role::EncoderBias | Role::Own(_) => return,
    };
    values.iter_mut().for_each(|value| *value = (f64::from(*value) * by) as f32);
}

impl<W: Weights> Weights for Folded<W> {
    fn config(&self) -> &SaeConfig {
        self.weights.config()
    }

    fn provenance(&self) -> &Provenance {
        self.weights.provenance()
    }

    fn trained_as(&self) -> &str {
        self.weights.trained_as()
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        self.weights.read(tensor, first, values)?;
        fold(tensor, self.factor, values);
        Ok(())
    }
}
