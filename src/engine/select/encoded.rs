//! The pre-activations of a chunk of features at a time.

use super::Inputs;
use super::chunks::{Chunk, Chunks, Limits, RowBlock, max_multiply_adds};
use crate::engine::parameters::Parameters;
use crate::error::{Error, Result};
use crate::gpu::shaders::encode_tiled;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::probe::Probe;
use crate::kernels::{Encode, EncodeVariant};

/// The kernel and its scratch; clones have the same.
#[derive(Clone)]
pub struct Encoded {
    pub(in crate::engine) encode: Encode,
    pub(in crate::engine) chunks: Chunks,
    /// Of a chunk, `[rows, features of a chunk]`.
    pub(in crate::engine) pre_activations: Buffer,
}

impl Encoded {
    /// Compiles the kernel and makes the scratch for at most `rows` rows at a time.
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, variant: EncodeVariant) -> Result<Self> {
        let encode = Encode::new(gpu, variant)?;
        if !gpu.is_dry_run() && !Probe::new(gpu)?.encodes(&encode)? {
            return Err(Error::Device(format!(
                "{} computes wrong pre-activations (kernel {variant}): update its driver, or take another with \
                 --device",
                gpu.description()
            )));
        }
        let limits = Limits { rows, group: 1, multiply_adds: max_multiply_adds(gpu.description()) };
        let chunks = Chunks::new(gpu, parameters, &limits);
        Ok(Self { encode, chunks, pre_activations: chunks.buffer(gpu, "pre-activations", rows, 1)? })
    }

    /// Row length of the pre-activations.
    pub fn stride(&self) -> u32 {
        self.chunks.features()
    }

    /// Encodes some rows.
    pub(in crate::engine) fn record(
        &self,
        recording: &mut Recording,
        inputs: &Inputs<'_>,
        block: RowBlock,
        chunk: Chunk<'_>,
    ) {
        let params = encode_tiled::Params {
            rows: block.count,
            quads: inputs.parameters.quads(),
            first_row: block.first,
            first: chunk.first,
            width: chunk.count,
            count: chunk.shard.count,
            stride: self.stride(),
            ..Default::default()
        };
        let bindings = encode_tiled::main::Bindings {
            centred: inputs.centred,
            w_enc: &chunk.shard.w_enc,
            scalars: &chunk.shard.scalars,
            pre_activations: &self.pre_activations,
            params,
        };
        self.encode.record(recording, bindings);
    }
}
