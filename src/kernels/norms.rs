//! Norms of the decoder's rows.

use crate::error::Result;
use crate::gpu::shaders::norms::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernel of `shaders/norms.wgsl`.
pub struct Norms {
    main: Pipeline<Kernel>,
}

impl Norms {
    /// Compiles it.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])? })
    }

    /// The norms of one shard.
    pub fn record(&self, recording: &mut Recording, bindings: Bindings<'_>) {
        let params = bindings.params;
        let groups = super::groups_for_rows(params.count);
        recording.dispatch(&self.main, bindings, groups);
    }
}
