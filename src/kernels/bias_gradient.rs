//! The gradient of `b_dec`, with its path through the encoder.

use super::{BLOCK_ROWS, groups_for, groups_for_pieces};
use crate::error::Result;
use crate::gpu::shaders::bias_gradient::{blocks, finish, fold, rows};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernels of `shaders/bias_gradient.wgsl`.
pub struct BiasGradient {
    rows: Pipeline<rows::Kernel>,
    blocks: Pipeline<blocks::Kernel>,
    fold: Pipeline<fold::Kernel>,
    finish: Pipeline<finish::Kernel>,
}

impl BiasGradient {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self {
            rows: gpu.pipeline(&[])?,
            blocks: gpu.pipeline(&[])?,
            fold: gpu.pipeline(&[])?,
            finish: gpu.pipeline(&[])?,
        })
    }

    /// Sums the loss's gradient over blocks of rows.
    pub fn record_rows(&self, recording: &mut Recording, bindings: rows::Bindings<'_>) {
        let params = bindings.params;
        let blocks = params.rows.div_ceil(BLOCK_ROWS);
        let groups = groups_for_pieces::<rows::Kernel>(blocks, params.quads);
        recording.dispatch(&self.rows, bindings, groups);
    }

    /// One shard's share of the encoder's part; shards in ascending order.
    pub fn record_shard(&self, recording: &mut Recording, blocks: blocks::Bindings<'_>, fold: fold::Bindings<'_>) {
        let params = blocks.params;
        let groups = groups_for_pieces::<blocks::Kernel>(params.blocks, params.quads);
        recording.dispatch(&self.blocks, blocks, groups);
        recording.dispatch(&self.fold, fold, groups_for::<fold::Kernel>(params.quads.into()));
    }

    /// Puts both parts together.
    pub fn record_finish(&self, recording: &mut Recording, bindings: finish::Bindings<'_>) {
        let groups = groups_for::<finish::Kernel>(bindings.params.quads.into());
        recording.dispatch(&self.finish, bindings, groups);
    }
}
