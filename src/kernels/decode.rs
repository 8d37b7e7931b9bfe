//! Reconstruction from sparse codes, shard by shard.

use super::groups_for_pieces;
use crate::error::Result;
use crate::gpu::shaders::decode::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernel of `shaders/decode.wgsl`.
pub struct Decode {
    main: Pipeline<Kernel>,
}

impl Decode {
    /// Compiles it.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])? })
    }

    /// Adds one shard's part; shards in ascending order.
    pub fn record(&self, recording: &mut Recording, bindings: Bindings<'_>) {
        let params = bindings.params;
        let groups = groups_for_pieces::<Kernel>(params.rows, params.quads);
        recording.dispatch(&self.main, bindings, groups);
    }
}
