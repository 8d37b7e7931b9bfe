//! A chunk of features at a time, merged into the k best so far.

use std::sync::Arc;

use super::chunks::RowBlock;
use super::encoded::Encoded;
use super::{Inputs, SelectionMethod, Selector};
use crate::engine::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::select;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{EncodeVariant, Select};

pub(super) struct Chunked {
    pub encoded: Encoded,
    pub select: Arc<Select>,
    /// Always 0.
    uncertain: Buffer,
}

impl Chunked {
    /// Compiles the kernels, for about `k` entries per row, and makes the scratch for at most `rows` rows at a time.
    pub fn new(gpu: &Gpu, parameters: &Parameters, [rows, k]: [u32; 2], variant: EncodeVariant) -> Result<Self> {
        let encoded = Encoded::new(gpu, parameters, rows, variant)?;
        Ok(Self {
            encoded: Encoded { chunks: encoded.chunks.balanced(parameters), ..encoded },
            select: Arc::new(Select::new(gpu, k)?),
            uncertain: gpu.buffer("uncertain rows", 1)?,
        })
    }

    /// The same kernels over other chunks or rows.
    pub fn with(&self, encoded: Encoded) -> Self {
        Self { encoded, select: self.select.clone(), uncertain: self.uncertain.clone() }
    }

    /// Writes the codes of some rows to a list.
    pub fn record_rows(&self, recording: &mut Recording, inputs: &Inputs<'_>, list: &Buffer, block: RowBlock) {
        let &Inputs { parameters, k, .. } = inputs;
        for chunk in inputs.chunks(self.encoded.chunks) {
            self.encoded.record(recording, inputs, block, chunk);
            let before = chunk.shard.first + chunk.first;
            let params = select::Params {
                rows: block.count,
                first_row: block.first,
                k,
                filled: (before - parameters.first()).min(k),
                first: before,
                first_in_shard: chunk.first,
                width: chunk.count,
                count: chunk.shard.count,
                stride: self.encoded.stride(),
                scaled: inputs.scaled(),
            };
            let (pre_activations, scalars) = (&self.encoded.pre_activations, &chunk.shard.scalars);
            let bindings = select::main::Bindings { pre_activations, scalars, entries: list, params };
            self.select.record(recording, bindings);
        }
    }
}

impl Selector for Chunked {
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        self.record_rows(recording, inputs, &inputs.entries.list, RowBlock { first: 0, count: inputs.rows });
    }

    fn method(&self) -> SelectionMethod {
        SelectionMethod::Chunked
    }

    fn uncertain(&self) -> &Buffer {
        &self.uncertain
    }
}
