//! A chunk of features at a time, merged into the k best so far.

use super::{Chunks, MAX_MULTIPLY_ADDS, SelectionArguments, select_bindings};
use crate::error::Result;
use crate::gpu::shaders::select;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{Encode, EncodeArguments, Select};
use crate::sae::Parameters;

pub(super) struct ChunkScratch {
    pub chunks: Chunks,
    /// Of a chunk.
    pub pre_activations: Buffer,
}

impl ChunkScratch {
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32) -> Result<Self> {
        let chunks = Chunks::new(gpu, parameters, rows, 1, MAX_MULTIPLY_ADDS);
        Ok(Self { chunks, pre_activations: chunks.buffer(gpu, "pre-activations", rows, 1)? })
    }

    pub fn record(
        &self,
        recording: &mut Recording,
        (encode, select): (&Encode, &Select),
        arguments: SelectionArguments<'_>,
    ) {
        let SelectionArguments { parameters, centred, codes, rows } = arguments;
        let config = parameters.config();
        let (pre_activations, stride) = (&self.pre_activations, self.chunks.0);
        for (shard, first, count) in self.chunks.of(parameters) {
            let quads = parameters.quads();
            let (w_enc, b_enc, relu) = (&shard.w_enc, &shard.b_enc, false);
            encode.record(
                recording,
                &EncodeArguments { centred, w_enc, b_enc, pre_activations, rows, quads, first, count, stride, relu },
            );
            let before = shard.first + first;
            let params = select::Params {
                rows,
                k: codes.k,
                filled: before.min(codes.k),
                first: before,
                first_in_shard: first,
                count,
                stride,
                scaled: u32::from(config.rescale_acts_by_decoder_norm),
                last: u32::from(before + count == config.features as u32),
                columns: 0,
            };
            select.record(recording, select_bindings(pre_activations, &shard.norms, codes, params));
        }
    }
}
