//! The loss, row by row, and its gradient at the reconstruction.

use crate::error::Result;
use crate::gpu::shaders::residual::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernel of `shaders/residual.wgsl`.
pub struct Residual {
    main: Pipeline<Kernel>,
}

impl Residual {
    /// Compiles it.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])? })
    }

    /// One pass over `params.rows` rows.
    pub fn record(&self, recording: &mut Recording, bindings: Bindings<'_>) {
        let params = bindings.params;
        let groups = super::groups_for_rows(params.rows);
        recording.dispatch(&self.main, bindings, groups);
    }
}
