//! Where a TopK SAE starts.

use std::num::NonZeroUsize;
use std::thread;

use super::geometric_median;
use crate::data::Provenance;
use crate::error::Result;
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::description::{Role, TensorSpec};
use crate::sae::{SaeConfig, Weights};

/// A TopK SAE before its first step (Gao et al. 2024, appendix A.1): decoder rows of random direction and norm 1, the
/// encoder equal to them, `b_enc` 0, `b_dec` the geometric median of the first batch. Rows are drawn as they are read.
#[derive(Clone, Debug)]
pub struct InitialWeights {
    config: SaeConfig,
    rng: Rng,
    b_dec: Vec<f32>,
    /// Origin of the activations to train on.
    pub provenance: Provenance,
}

/// The weights of `seed` for data that begin with the batch `[rows, d_in]`. Every number depends on the seed and its
/// own place only.
///
/// # Errors
/// As [`SaeConfig::validate`].
pub fn initialize(config: &SaeConfig, seed: u64, first_batch: &[f32]) -> Result<InitialWeights> {
    config.validate()?;
    Ok(InitialWeights {
        config: config.clone(),
        rng: Rng::new(seed, Purpose::Weights),
        b_dec: geometric_median(first_batch, config.d_in).iter().map(|&value| value as f32).collect(),
        provenance: Provenance::default(),
    })
}

impl InitialWeights {
    /// Fills a row with its feature's direction.
    fn draw(&self, feature: usize, row: &mut [f32]) {
        for (four, values) in (0..).zip(row.chunks_mut(4)) {
            let drawn = self.rng.block(feature as u64, four).map(symmetric);
            values.copy_from_slice(&drawn[..values.len()]);
        }
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        for value in row {
            *value = (f64::from(*value) / norm.max(f64::MIN_POSITIVE)) as f32;
        }
    }
}

impl Weights for InitialWeights {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        let d = self.config.d_in;
        match tensor.role {
            Role::EncoderBias | Role::Own(_) => values.fill(0.0),
            Role::OutputBias => values.copy_from_slice(&self.b_dec),
            Role::Encoder | Role::Decoder => {
                let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
                let share = (values.len() / d).div_ceil(threads);
                thread::scope(|scope| {
                    for (part, values) in values.chunks_mut(share * d).enumerate() {
                        scope.spawn(move || {
                            for (feature, row) in (first + part * share..).zip(values.chunks_exact_mut(d)) {
                                self.draw(feature, row);
                            }
                        });
                    }
                });
            }
        }
        Ok(())
    }
}
