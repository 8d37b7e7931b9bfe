//! SAEs whose thresholds are no tensor, as JumpReLU SAEs.

use super::description::{Inference, KeyScale, Role, TensorSpec};
use super::weights::for_each_tile;
use super::{Architecture, Folded, JumpRelu, SaeConfig, Weights};
use crate::data::Provenance;
use crate::error::{Error, Result};

/// Below it the norm of a decoder row is taken for it, as in SAELens.
const LEAST_NORM: f64 = 1e-8;

/// Weights presented as those of a JumpReLU SAE, whose activations are the same. Where features are reported in the
/// scale of their decoder norms, these are folded: `W_enc |v|`, `b_enc |v|`, `W_dec / |v|`.
pub struct AsJumpRelu<W> {
    weights: W,
    config: SaeConfig,
    thresholds: Thresholds,
    /// The norms of the decoder rows, where they are folded.
    norms: Option<Vec<f64>>,
}

/// Where thresholds come from.
enum Thresholds {
    /// One for all features.
    All(f32),
    /// The weights' tensor of their logarithms.
    Logarithms,
}

impl<W: Weights> AsJumpRelu<W> {
    /// An SAE that was trained with BatchTopK or Matryoshka: a feature is active where its key exceeds `threshold`.
    ///
    /// # Errors
    /// [`Error::Config`] when the architecture has another way to choose active features, or the threshold is below 0
    /// or not finite; those of the weights, whose decoder is read if its norms are folded.
    pub fn with_threshold(weights: W, threshold: f32) -> Result<Self> {
        let description = weights.config().describe();
        if description.inference != Inference::Threshold {
            let name = weights.config().architecture.saelens_name();
            return Err(Error::Config(format!("a {name} SAE has no single threshold: save it as it is")));
        }
        if !(threshold.is_finite() && threshold >= 0.0) {
            return Err(Error::Config(format!("a threshold of {threshold}: it must be a number of at least 0")));
        }
        let norms = match description.key {
            KeyScale::One => None,
            KeyScale::DecoderNorm => Some(norms(&weights, &description.tensor(Role::Decoder))?),
        };
        let config = SaeConfig { architecture: JumpRelu::inference().into(), ..weights.config().clone() };
        Ok(Self { weights, config, thresholds: Thresholds::All(threshold), norms })
    }

    /// A JumpReLU SAE that trains its thresholds' logarithms; other weights are given back.
    pub(super) fn of_logarithms(weights: W) -> std::result::Result<Self, W> {
        match &weights.config().architecture {
            Architecture::JumpRelu(jumprelu) if jumprelu.log_threshold => {
                let jumprelu = JumpRelu { log_threshold: false, ..jumprelu.clone() };
                let config = SaeConfig { architecture: jumprelu.into(), ..weights.config().clone() };
                Ok(Self { weights, config, thresholds: Thresholds::Logarithms, norms: None })
            }
            _ => Err(weights),
        }
    }
}

/// Weights under training as the SAE that they make: where features are ranked over whole batches, `threshold` decides
/// which are active; without one none ever was, and every positive value is. Rows that it was trained on were multiplied
/// by `row_scale`, if that is given, and those that it is used on are not.
///
/// # Errors
/// As [`AsJumpRelu::with_threshold`].
pub(crate) fn as_trained<'a>(
    weights: impl Weights + 'a,
    threshold: Option<f32>,
    row_scale: Option<f32>,
) -> Result<Box<dyn Weights + 'a>> {
    let weights: Box<dyn Weights + 'a> = match weights.config().describe().inference {
        Inference::Listed => Box::new(weights),
        Inference::Threshold => Box::new(AsJumpRelu::with_threshold(weights, threshold.unwrap_or(0.0))?),
    };
    Ok(match row_scale {
        None => weights,
        Some(scale) => Box::new(Folded::new(weights, scale.into())),
    })
}

fn norms(weights: &dyn Weights, decoder: &TensorSpec) -> Result<Vec<f64>> {
    let [features, d] = decoder.shape(weights.config());
    let mut norms = Vec::with_capacity(features);
    for_each_tile(weights, decoder, |_, rows| {
        let norm = |row: &[f32]| row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        norms.extend(rows.chunks_exact(d).map(|row| norm(row).max(LEAST_NORM)));
        Ok(())
    })?;
    Ok(norms)
}

impl<W: Weights> Weights for AsJumpRelu<W> {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        self.weights.provenance()
    }

    fn trained_as(&self) -> &str {
        self.weights.trained_as()
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        if let (Role::Own(_), Thresholds::All(threshold)) = (tensor.role, &self.thresholds) {
            values.fill(*threshold);
            return Ok(());
        }
        let theirs = self.weights.config().describe().tensor(tensor.role);
        self.weights.read(&theirs, first, values)?;
        if let (Role::Own(_), Thresholds::Logarithms) = (tensor.role, &self.thresholds) {
            values.iter_mut().for_each(|value| *value = f64::from(*value).exp() as f32);
        }
        let Some(norms) = &self.norms else { return Ok(()) };
        let factor: fn(f64) -> f64 = match tensor.role {
            Role::Encoder | Role::EncoderBias => |norm| norm,
            Role::Decoder => |norm| 1.0 / norm,
            Role::Own(_) | Role::OutputBias => return Ok(()),
        };
        let [_, columns] = tensor.shape(&self.config);
        for (row, norm) in values.chunks_exact_mut(columns).zip(&norms[first..]) {
            row.iter_mut().for_each(|value| *value = (f64::from(*value) * factor(*norm)) as f32);
        }
        Ok(())
    }
}
