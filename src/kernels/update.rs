//! Adam over every row, with each row's gradient summed on the way, and the decoder-norm rule.

use super::{groups_for, groups_for_rows};
use crate::error::Result;
use crate::gpu::shaders::update::{bias, features};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernels of `shaders/update.wgsl`.
pub struct Update {
    features: Pipeline<features::Kernel>,
    bias: Pipeline<bias::Kernel>,
}

impl Update {
    /// Compiles them, for moments in f32 or in bf16.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu, bf16: bool) -> Result<Self> {
        Ok(Self { features: gpu.pipeline(&Self::defines(bf16))?, bias: gpu.pipeline(&Self::defines(bf16))? })
    }

    /// The definitions of `shaders/update.wgsl`.
    pub fn defines(bf16: bool) -> [(&'static str, u32); 1] {
        [("BF16", bf16.into())]
    }

    /// Every row of one shard.
    pub fn record_features(&self, recording: &mut Recording, bindings: features::Bindings<'_>) {
        let groups = groups_for_rows(bindings.params.count);
        recording.dispatch(&self.features, bindings, groups);
    }

    /// `b_dec`.
    pub fn record_bias(&self, recording: &mut Recording, bindings: bias::Bindings<'_>) {
        let groups = groups_for::<bias::Kernel>(bindings.params.quads.into());
        recording.dispatch(&self.bias, bindings, groups);
    }
}
