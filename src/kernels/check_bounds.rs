//! The check that a screened selection is proven to be exact.

use super::groups_for;
use crate::error::Result;
use crate::gpu::shaders::check_bounds::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernel of `shaders/check_bounds.wgsl`.
pub struct CheckBounds {
    main: Pipeline<Kernel>,
}

impl CheckBounds {
    /// Compiles it.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])? })
    }

    /// Every row.
    pub fn record(&self, recording: &mut Recording, bindings: Bindings<'_>) {
        let groups = groups_for::<Kernel>(bindings.params.rows.into());
        recording.dispatch(&self.main, bindings, groups);
    }
}
