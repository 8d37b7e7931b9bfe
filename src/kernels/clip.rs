//! The norm of the whole gradient and the coefficient that clips it.

use crate::error::Result;
use crate::gpu::shaders::clip::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernel of `shaders/clip.wgsl`.
pub struct Clip {
    main: Pipeline<Kernel>,
}

impl Clip {
    /// Compiles it.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])? })
    }

    /// One workgroup.
    pub fn record(&self, recording: &mut Recording, bindings: Bindings<'_>) {
        recording.dispatch(&self.main, bindings, [1, 1, 1]);
    }
}
