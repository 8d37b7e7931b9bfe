//! The gradient of the loss at each active code.

use crate::error::Result;
use crate::gpu::shaders::code_gradients::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernel of `shaders/code_gradients.wgsl`.
pub struct CodeGradients {
    main: Pipeline<Kernel>,
}

impl CodeGradients {
    /// Compiles it.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])? })
    }

    /// One shard's entries.
    pub fn record(&self, recording: &mut Recording, bindings: Bindings<'_>) {
        let params = bindings.params;
        let groups = super::groups_for::<Kernel>(u64::from(params.entries));
        recording.dispatch(&self.main, bindings, groups);
    }
}
