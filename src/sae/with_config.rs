//! Weights under another configuration.

use super::description::TensorSpec;
use super::{SaeConfig, Weights};
use crate::data::Provenance;
use crate::error::Result;

/// The weights of an SAE under a configuration of their own, which has the same tensors.
pub struct WithConfig<'a> {
    weights: &'a dyn Weights,
    config: SaeConfig,
}

impl<'a> WithConfig<'a> {
    /// These weights under this configuration; none if it asks for other tensors.
    pub fn new(weights: &'a dyn Weights, config: SaeConfig) -> Option<Self> {
        let before = weights.config();
        let has_sizes = (before.d_in, before.features) == (config.d_in, config.features);
        (has_sizes && before.tensors() == config.tensors()).then_some(Self { weights, config })
    }

    /// The same SAE with `k` active features per row; none if its kind has no such number, or not so many features.
    pub fn with_k(weights: &'a dyn Weights, k: usize) -> Option<Self> {
        let config = weights.config();
        let config = SaeConfig { architecture: config.architecture.with_k(k)?, ..config.clone() };
        config.validate().is_ok().then(|| Self::new(weights, config)).flatten()
    }
}

impl Weights for WithConfig<'_> {
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
