//! Input centring: `x - b_dec`, and a look for values that are not finite.

use crate::error::Result;
use crate::gpu::shaders::center::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernel of `shaders/center.wgsl`.
pub struct Center {
    main: Pipeline<Kernel>,
}

impl Center {
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
        let groups = super::groups_for::<Kernel>(u64::from(params.rows) * u64::from(params.quads));
        recording.dispatch(&self.main, bindings, groups);
    }
}
