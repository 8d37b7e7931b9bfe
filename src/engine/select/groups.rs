//! The best groups of features, and the k largest keys in them: the part that grouped and screened selection share.

use std::sync::Arc;

use super::Inputs;
use super::chunks::{Chunk, Chunks, RowBlock, RowBlocks};
use crate::error::Result;
use crate::gpu::shaders::{rescore, select};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{Codes, Rescore, Select};
use crate::sae::Parameters;

pub(super) struct Groups {
    /// The k largest of the candidates.
    pub select: Arc<Select>,
    /// The best groups of a chunk and of those before it.
    pub select_groups: Arc<Select>,
    pub rescore: Rescore,
    pub size: GroupSize,
    pub chunks: Chunks,
    /// Of a chunk, `[rows of a block, groups of a chunk]`.
    pub maxima: Buffer,
    scratch: Scratch,
}

/// Number and size of groups.
#[derive(Clone, Copy)]
pub(super) struct GroupSize {
    /// Features in a group.
    pub group: u32,
    /// Groups that are scored, of each row.
    pub best: u32,
    /// Rows that are worked on at a time.
    pub blocks: RowBlocks,
}

impl GroupSize {
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, group: u32, best: u32) -> Self {
        let best = best.min((parameters.config().features as u32).div_ceil(group));
        Self { group, best, blocks: RowBlocks::new(gpu, rows, best * group) }
    }
}

/// The scored groups of a block of rows.
pub(super) struct Scratch {
    /// The best groups of each row.
    best: Codes,
    /// `[rows, best groups · group]`.
    candidate_values: Buffer,
    candidate_keys: Buffer,
}

impl Scratch {
    pub fn new(gpu: &Gpu, size: GroupSize) -> Result<Self> {
        let rows = size.blocks.rows();
        let candidates =
            || gpu.buffer("keys of candidates", u64::from(rows) * u64::from(size.best) * u64::from(size.group));
        Ok(Self {
            best: Codes::new(gpu, rows, size.best)?,
            candidate_values: candidates()?,
            candidate_keys: candidates()?,
        })
    }
}

/// What [`Groups`] are made of.
pub(super) struct Parts {
    pub select: Arc<Select>,
    pub select_groups: Arc<Select>,
    pub rescore: Rescore,
    pub chunks: Chunks,
    pub maxima: Buffer,
}

impl Groups {
    pub fn new(gpu: &Gpu, size: GroupSize, parts: Parts) -> Result<Self> {
        let Parts { select, select_groups, rescore, chunks, maxima } = parts;
        Ok(Self { select, select_groups, rescore, size, chunks, maxima, scratch: Scratch::new(gpu, size)? })
    }

    /// Groups of a whole chunk.
    pub fn stride(&self) -> u32 {
        self.chunks.features() / self.size.group
    }

    /// Bounds or maxima of the best groups, `[rows of a block, best groups]`.
    pub fn best_keys(&self) -> &Buffer {
        &self.scratch.best.keys
    }

    /// Merges a chunk's maxima into the best so far.
    pub fn record_merge(&self, recording: &mut Recording, block: RowBlock, chunk: Chunk<'_>) {
        let Self { size, scratch: Scratch { best, .. }, .. } = self;
        let before = (chunk.shard.first + chunk.first) / size.group;
        let params = select::Params {
            rows: block.count,
            k: best.k,
            filled: before.min(best.k),
            first: before,
            count: chunk.count.div_ceil(size.group),
            stride: self.stride(),
            ..Default::default()
        };
        self.select_groups.record_keys(recording, &self.maxima, &chunk.shard.norms, best, params);
    }

    /// The k largest keys in the best groups, not rectified; the codes' features are numbers of candidates in the row.
    pub fn record_candidates(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock) {
        let Scratch { best, candidate_values, candidate_keys } = &self.scratch;
        for shard in &inputs.parameters.shards {
            let params =
                rescore::Params { first: shard.first, count: shard.count, ..self.rescore_params(inputs, block) };
            let bindings = rescore::main::Bindings {
                centred: inputs.centred,
                w_enc: &shard.w_enc,
                b_enc: &shard.b_enc,
                norms: &shard.norms,
                best_groups: &best.features,
                candidate_values,
                candidate_keys,
                params,
            };
            self.rescore.record(recording, bindings);
        }
        let count = best.k * self.size.group;
        let params = select::Params {
            rows: block.count,
            first_row: block.first,
            k: inputs.codes.k,
            count,
            stride: count,
            ..Default::default()
        };
        // Candidates are scaled already, so these norms are not read.
        self.select.record_keys(recording, candidate_keys, candidate_values, inputs.codes, params);
    }

    /// The candidates' features and values, rectified.
    pub fn record_codes(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock) {
        let bindings = rescore::write_codes::Bindings {
            best_groups: &self.scratch.best.features,
            candidate_values: &self.scratch.candidate_values,
            features: &inputs.codes.features,
            values: &inputs.codes.values,
            keys: &inputs.codes.keys,
            params: self.rescore_params(inputs, block),
        };
        self.rescore.record_codes(recording, bindings);
    }

    fn rescore_params(&self, inputs: &Inputs<'_>, block: RowBlock) -> rescore::Params {
        rescore::Params {
            rows: block.count,
            first_row: block.first,
            quads: inputs.parameters.quads(),
            groups: self.size.best,
            group: self.size.group,
            scaled: inputs.scaled(),
            k: inputs.codes.k,
            ..Default::default()
        }
    }
}
