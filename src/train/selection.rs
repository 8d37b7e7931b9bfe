//! The scratch memory of a selection, and its commands.

use crate::error::Result;
use crate::gpu::shaders::{rescore, select};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{
    Codes, Encode, EncodeArguments, GroupMaxima, GroupMaximaArguments, Rescore, SCRATCH_BYTES, Selection,
    SelectionKernels, SelectionMethod,
};
use crate::sae::{Parameters, Shard};

/// Features a chunk at most: the smallest tiles of `encode`, 32 features wide, then stay within one dimension of a dispatch.
const MAX_CHUNK: u64 = 1 << 20;

/// Multiply-adds of one dispatch of `encode` at most: a twentieth of a second on a device that makes 1 TFLOP/s.
const MAX_MULTIPLY_ADDS: u64 = 1 << 35;

/// Chunks are cut at multiples of so many features: what they leave comes in vectors of 4.
fn chunk_unit(group: Option<u32>) -> u64 {
    u64::from(4 * group.unwrap_or(4))
}

/// What a selection over at most so many rows holds.
pub(super) struct SelectionScratch {
    /// Pre-activations of a chunk, or its groups' maxima.
    chunk_values: Buffer,
    /// Features a chunk.
    chunk: u32,
    grouped: Option<GroupScratch>,
}

/// What the grouped method holds besides.
struct GroupScratch {
    group: u32,
    /// The best groups of each row.
    best: Codes,
    /// `[rows, best groups · group]`.
    candidate_values: Buffer,
    candidate_keys: Buffer,
}

/// What is selected from and to.
pub(super) struct SelectionArguments<'a> {
    pub parameters: &'a Parameters,
    pub centred: &'a Buffer,
    pub codes: &'a Codes,
    pub rows: u32,
}

impl SelectionScratch {
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, method: SelectionMethod) -> Result<Self> {
        let group = match method {
            SelectionMethod::Chunked => None,
            SelectionMethod::Grouped { group } => Some(group),
        };
        let bytes = SCRATCH_BYTES.min(gpu.max_binding_bytes());
        let chunk = chunk_features(parameters, rows, bytes * u64::from(group.unwrap_or(1)), chunk_unit(group));
        let values = u64::from(rows) * u64::from(chunk / group.unwrap_or(1));
        let name = if group.is_some() { "maxima of groups" } else { "pre-activations" };
        Ok(Self {
            chunk_values: gpu.buffer(name, values)?,
            chunk,
            grouped: group.map(|group| GroupScratch::new(gpu, parameters, rows, group)).transpose()?,
        })
    }

    /// The codes of the first rows: the k largest keys, rectified.
    pub fn record(&self, recording: &mut Recording, kernels: &Selection, arguments: &SelectionArguments<'_>) {
        match (&kernels.way, &self.grouped) {
            (SelectionKernels::Grouped { maxima, rescore, .. }, Some(grouped)) => {
                self.record_best_groups(recording, (maxima, &kernels.select), grouped, arguments);
                grouped.record_candidates(recording, (rescore, &kernels.select), arguments);
            }
            (SelectionKernels::Chunked(encode), _) => {
                self.record_chunks(recording, (encode, &kernels.select), arguments);
            }
            // The scratch is made for the method of the kernels.
            (SelectionKernels::Grouped { .. }, None) => {}
        }
    }

    /// Shards and chunks of them: the shard, the first feature in it, and how many.
    fn chunks<'a>(&self, parameters: &'a Parameters) -> impl Iterator<Item = (&'a Shard, u32, u32)> + use<'a> {
        let chunk = self.chunk;
        parameters.shards.iter().flat_map(move |shard| {
            let firsts = (0..shard.count).step_by(chunk as usize);
            firsts.map(move |first| (shard, first, chunk.min(shard.count - first)))
        })
    }

    fn record_chunks(
        &self,
        recording: &mut Recording,
        (encode, select): (&Encode, &crate::kernels::Select),
        arguments: &SelectionArguments<'_>,
    ) {
        let &SelectionArguments { parameters, centred, codes, rows } = arguments;
        let config = parameters.config();
        for (shard, first, count) in self.chunks(parameters) {
            let quads = parameters.quads();
            let (w_enc, b_enc, pre_activations) = (&shard.w_enc, &shard.b_enc, &self.chunk_values);
            let (stride, relu) = (self.chunk, false);
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
            };
            select.record(recording, select_bindings(pre_activations, &shard.norms, codes, params));
        }
    }

    fn record_best_groups(
        &self,
        recording: &mut Recording,
        (maxima, select): (&GroupMaxima, &crate::kernels::Select),
        grouped: &GroupScratch,
        arguments: &SelectionArguments<'_>,
    ) {
        let &SelectionArguments { parameters, centred, rows, .. } = arguments;
        let scaled = parameters.config().rescale_acts_by_decoder_norm;
        let (group, k) = (grouped.group, grouped.best.k);
        let stride = self.chunk / group;
        for (shard, first, count) in self.chunks(parameters) {
            let arguments = GroupMaximaArguments {
                centred,
                w_enc: &shard.w_enc,
                b_enc: &shard.b_enc,
                norms: &shard.norms,
                maxima: &self.chunk_values,
                rows,
                quads: parameters.quads(),
                first,
                count,
                stride,
                scaled,
            };
            maxima.record(recording, &arguments);
            let before = (shard.first + first) / group;
            let params = select::Params {
                rows,
                k,
                filled: before.min(k),
                first: before,
                first_in_shard: 0,
                count: count.div_ceil(group),
                stride,
                scaled: 0,
                last: 0,
            };
            select.record(recording, select_bindings(&self.chunk_values, &shard.norms, &grouped.best, params));
        }
    }
}

impl GroupScratch {
    fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, group: u32) -> Result<Self> {
        let config = parameters.config();
        let best = (config.k as u32).min((config.features as u32).div_ceil(group));
        let candidates = || gpu.buffer("keys of candidates", u64::from(rows) * u64::from(best) * u64::from(group));
        Ok(Self {
            group,
            best: Codes::new(gpu, rows, best)?,
            candidate_values: candidates()?,
            candidate_keys: candidates()?,
        })
    }

    /// The codes, from the features of the best groups.
    fn record_candidates(
        &self,
        recording: &mut Recording,
        (rescore, select): (&Rescore, &crate::kernels::Select),
        arguments: &SelectionArguments<'_>,
    ) {
        let &SelectionArguments { parameters, centred, codes, rows } = arguments;
        let Self { group, best, candidate_values, candidate_keys } = self;
        let mut params = rescore::Params {
            rows,
            quads: parameters.quads(),
            groups: best.k,
            group: *group,
            first: 0,
            count: 0,
            scaled: u32::from(parameters.config().rescale_acts_by_decoder_norm),
            k: codes.k,
        };
        for shard in &parameters.shards {
            (params.first, params.count) = (shard.first, shard.count);
            let bindings = rescore::main::Bindings {
                centred,
                w_enc: &shard.w_enc,
                b_enc: &shard.b_enc,
                norms: &shard.norms,
                best_groups: &best.features,
                candidate_values,
                candidate_keys,
                params,
            };
            rescore.record(recording, bindings);
        }
        let count = best.k * group;
        let (filled, first, first_in_shard, stride, scaled, last) = (0, 0, 0, count, 0, 1);
        let select_params =
            select::Params { rows, k: codes.k, filled, first, first_in_shard, count, stride, scaled, last };
        // Nothing is scaled here, so any buffer will do for the norms.
        select.record(recording, select_bindings(candidate_keys, candidate_values, codes, select_params));
        let bindings = rescore::name_features::Bindings {
            best_groups: &best.features,
            candidate_values,
            features: &codes.features,
            values: &codes.values,
            params,
        };
        rescore.record_names(recording, bindings);
    }
}

fn select_bindings<'a>(
    pre_activations: &'a Buffer,
    norms: &'a Buffer,
    codes: &'a Codes,
    params: select::Params,
) -> select::main::Bindings<'a> {
    let Codes { features, values, keys, .. } = codes;
    select::main::Bindings { pre_activations, norms, features, values, keys, params }
}

/// Features a chunk: as many as `bytes` hold for every row, but no more than the largest shard has or a dispatch should.
fn chunk_features(parameters: &Parameters, rows: u32, bytes: u64, unit: u64) -> u32 {
    let rows = u64::from(rows.max(1));
    let largest = parameters.shards.iter().map(|shard| shard.count).max().unwrap_or(1);
    let width = u64::from(parameters.quads()) * 4;
    let most = (bytes / (4 * rows)).min(MAX_MULTIPLY_ADDS / (rows * width)).min(MAX_CHUNK);
    (most.min(u64::from(largest).next_multiple_of(unit)).max(unit) / unit * unit) as u32
}
