//! Rows in f16 with their scales and bounds, for `screen`.

use crate::error::Result;
use crate::gpu::shaders::to_f16::ROWS_PER_WORKGROUP;
use crate::gpu::shaders::to_f16::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording, grid};

/// The kernel of `shaders/to_f16.wgsl`.
pub struct ToF16 {
    main: Pipeline<Kernel>,
}

impl ToF16 {
    /// Compiles it.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])? })
    }

    /// Some rows.
    pub fn record(&self, recording: &mut Recording, bindings: Bindings<'_>) {
        let groups = match bindings.params.count {
            0 => [0; 3],
            count => grid(count.div_ceil(ROWS_PER_WORKGROUP).into()),
        };
        recording.dispatch(&self.main, bindings, groups);
    }
}
