//! What the whole model must know of the active features' gradients before any is applied.

use super::groups_for_rows;
use crate::error::Result;
use crate::gpu::shaders::gradients::{blocks, features};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernels of `shaders/gradients.wgsl`.
pub struct Gradients {
    features: Pipeline<features::Kernel>,
    blocks: Pipeline<blocks::Kernel>,
}

impl Gradients {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { features: gpu.pipeline(&[])?, blocks: gpu.pipeline(&[])? })
    }

    /// Each active feature of one shard, of which there are at most `runs`.
    pub fn record_features(&self, recording: &mut Recording, bindings: features::Bindings<'_>, runs: u32) {
        recording.dispatch(&self.features, bindings, groups_for_rows(runs));
    }

    /// The squared norms of one shard's feature blocks.
    pub fn record_blocks(&self, recording: &mut Recording, bindings: blocks::Bindings<'_>) {
        let groups = groups_for_rows(bindings.params.blocks);
        recording.dispatch(&self.blocks, bindings, groups);
    }
}
