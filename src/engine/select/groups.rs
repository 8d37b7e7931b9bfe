//! The best groups of features, and the k largest keys in them: the part that grouped and screened selection share.

use std::sync::Arc;

use super::chunks::{Chunk, Chunks, RowBlock, RowBlocks};
use super::{Inputs, ScreenMode};
use crate::engine::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::{rescore, select};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{Rescore, Select};

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
    /// Groups that are scored, of each row, unless the caller wants more or fewer.
    pub usual: u32,
    /// Groups that there is room for.
    pub best: u32,
    /// Rows that are worked on at a time.
    pub blocks: RowBlocks,
}

impl GroupSize {
    /// With room for `most` groups.
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, group: u32, [usual, most]: [u32; 2]) -> Self {
        let all = (parameters.config().features as u32).div_ceil(group);
        let [usual, best] = [usual, most].map(|groups| groups.min(all));
        Self { group, usual, best, blocks: RowBlocks::new(gpu, rows, best * group) }
    }
}

/// The scored groups of a block of rows.
pub(super) struct Scratch {
    /// The best groups of each row, `[rows, best groups]` entries of (group, place, maximum, maximum).
    best: Buffer,
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
            best: gpu.buffer("best groups", 4 * u64::from(rows) * u64::from(size.best))?,
            candidate_values: candidates()?,
            candidate_keys: candidates()?,
        })
    }
}

/// Parts of [`Groups`].
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

    /// Groups that are scored, of each row.
    pub fn scored(&self, inputs: &Inputs<'_>) -> u32 {
        match inputs.screen {
            ScreenMode::Optimistic { groups } => groups.max(inputs.k).min(self.size.best),
            _ => self.size.usual,
        }
    }

    /// The best groups, `[rows of a block, best groups]` entries whose keys are their bounds or maxima.
    pub fn best(&self) -> &Buffer {
        &self.scratch.best
    }

    /// Merges a chunk's maxima into the best so far.
    pub fn record_merge(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock, chunk: Chunk<'_>) {
        let Self { size, scratch: Scratch { best, .. }, .. } = self;
        let (before, scored) = ((chunk.shard.first + chunk.first) / size.group, self.scored(inputs));
        let params = select::Params {
            rows: block.count,
            k: scored,
            filled: (before - inputs.parameters.first() / size.group).min(scored),
            first: before,
            width: chunk.count.div_ceil(size.group),
            stride: self.stride(),
            ..Default::default()
        };
        let (pre_activations, scalars) = (&self.maxima, &chunk.shard.scalars);
        let bindings = select::main::Bindings { pre_activations, scalars, entries: best, params };
        self.select_groups.record(recording, bindings);
    }

    /// The k largest keys in the best groups; the entries' features are numbers of candidates in the row.
    pub fn record_candidates(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock) {
        let Scratch { best, candidate_values, candidate_keys } = &self.scratch;
        for shard in &inputs.parameters.shards {
            let params =
                rescore::Params { first: shard.first, count: shard.count, ..self.rescore_params(inputs, block) };
            let bindings = rescore::main::Bindings {
                centred: inputs.centred,
                w_enc: &shard.w_enc,
                scalars: &shard.scalars,
                best_groups: best,
                candidate_values,
                candidate_keys,
                params,
            };
            self.rescore.record(recording, bindings);
        }
        let width = self.scored(inputs) * self.size.group;
        let params = select::Params {
            rows: block.count,
            first_row: block.first,
            k: inputs.k,
            width,
            stride: width,
            ..Default::default()
        };
        // Candidates are scaled already, so these scalars are not read.
        let (pre_activations, scalars) = (candidate_keys, candidate_values);
        let entries = &inputs.entries.list;
        self.select.record(recording, select::main::Bindings { pre_activations, scalars, entries, params });
    }

    /// The candidates' features and values.
    pub fn record_codes(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock) {
        let bindings = rescore::write_codes::Bindings {
            best_groups: &self.scratch.best,
            candidate_values: &self.scratch.candidate_values,
            entries: &inputs.entries.list,
            params: self.rescore_params(inputs, block),
        };
        self.rescore.record_codes(recording, bindings);
    }

    fn rescore_params(&self, inputs: &Inputs<'_>, block: RowBlock) -> rescore::Params {
        rescore::Params {
            rows: block.count,
            first_row: block.first,
            quads: inputs.parameters.quads(),
            groups: self.scored(inputs),
            group: self.size.group,
            scaled: inputs.scaled(),
            k: inputs.k,
            ..Default::default()
        }
    }
}
