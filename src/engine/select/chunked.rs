//! A chunk of features at a time, merged into the k best so far.

use std::sync::Arc;

use super::chunks::{Chunks, Limits, MAX_MULTIPLY_ADDS, RowBlock};
use super::{Inputs, SelectionMethod, Selector};
use crate::engine::parameters::Parameters;
use crate::error::{Error, Result};
use crate::gpu::shaders::{encode_tiled, select};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::probe::Probe;
use crate::kernels::{Encode, EncodeVariant, Select};

pub(super) struct Chunked {
    encode: Encode,
    pub select: Arc<Select>,
    pub chunks: Chunks,
    /// Of a chunk, `[rows, features of a chunk]`.
    pub pre_activations: Buffer,
    /// Always 0.
    uncertain: Buffer,
}

impl Chunked {
    /// Compiles the kernels and makes the scratch for at most `rows` rows at a time.
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, variant: EncodeVariant) -> Result<Self> {
        let encode = Encode::new(gpu, variant)?;
        if !gpu.is_dry_run() && !Probe::new(gpu)?.encodes(&encode)? {
            return Err(Error::Device(format!(
                "{} computes wrong pre-activations (kernel {variant}): update its driver, or take another with \
                 --device",
                gpu.description()
            )));
        }
        let chunks = Chunks::new(gpu, parameters, &Limits { rows, group: 1, multiply_adds: MAX_MULTIPLY_ADDS });
        Ok(Self {
            encode,
            select: Arc::new(Select::new(gpu, parameters.config().usual_l0() as u32)?),
            chunks,
            pre_activations: chunks.buffer(gpu, "pre-activations", rows, 1)?,
            uncertain: gpu.buffer("uncertain rows", 1)?,
        })
    }

    /// The kernel that computes pre-activations.
    pub fn encode(&self) -> &Encode {
        &self.encode
    }

    /// The codes of some rows.
    pub fn record_rows(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock) {
        let &Inputs { parameters, centred, entries, .. } = inputs;
        let (pre_activations, stride) = (&self.pre_activations, self.chunks.features());
        for chunk in self.chunks.of(parameters) {
            let params = encode_tiled::Params {
                rows: block.count,
                quads: parameters.quads(),
                first_row: block.first,
                first: chunk.first,
                width: chunk.count,
                count: chunk.shard.count,
                stride,
                ..Default::default()
            };
            let (w_enc, scalars) = (&chunk.shard.w_enc, &chunk.shard.scalars);
            let bindings = encode_tiled::main::Bindings { centred, w_enc, scalars, pre_activations, params };
            self.encode.record(recording, bindings);
            let before = chunk.shard.first + chunk.first;
            let params = select::Params {
                rows: block.count,
                first_row: block.first,
                k: entries.k,
                filled: (before - parameters.first()).min(entries.k),
                first: before,
                first_in_shard: chunk.first,
                width: chunk.count,
                count: chunk.shard.count,
                stride,
                scaled: inputs.scaled(),
            };
            let entries = &entries.list;
            self.select.record(recording, select::main::Bindings { pre_activations, scalars, entries, params });
        }
    }
}

impl Selector for Chunked {
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        self.record_rows(recording, inputs, RowBlock { first: 0, count: inputs.rows });
    }

    fn method(&self) -> SelectionMethod {
        SelectionMethod::Chunked
    }

    fn uncertain(&self) -> &Buffer {
        &self.uncertain
    }
}
