//! An SAE with another number of active features per row.

use super::description::TensorSpec;
use super::{SaeConfig, Weights};
use crate::data::Provenance;
use crate::error::Result;

/// The weights of another SAE under a configuration of their own.
pub struct WithK<'a> {
    weights: &'a dyn Weights,
    config: SaeConfig,
}

impl<'a> WithK<'a> {
    /// The same SAE with `k` active features per row; none if its kind has no such number, or not so many features.
    pub fn new(weights: &'a dyn Weights, k: usize) -> Option<Self> {
        let config = weights.config();
        let config = SaeConfig { architecture: config.architecture.with_k(k)?, ..config.clone() };
        config.validate().is_ok().then_some(Self { weights, config })
    }
}

impl Weights for WithK<'_> {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        self.weights.provenance()
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        self.weights.read(tensor, first, values)
    }
}
