//! The best groups of features, and the k largest keys in them.

use super::{Chunks, SelectionArguments, select_bindings};
use crate::error::Result;
use crate::gpu::shaders::{rescore, select};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{Codes, GroupMaxima, GroupMaximaArguments, Rescore, Select};
use crate::sae::{Parameters, Shard};

pub(super) struct GroupScratch {
    /// Features a group.
    group: u32,
    pub chunks: Chunks,
    /// Of a chunk's groups.
    pub maxima: Buffer,
    /// The best groups of each row.
    pub best: Codes,
    /// `[rows, best groups · group]`.
    candidate_values: Buffer,
    candidate_keys: Buffer,
}

impl GroupScratch {
    /// For so many rows and best groups a row.
    pub fn new(
        gpu: &Gpu,
        parameters: &Parameters,
        (rows, best): (u32, u32),
        group: u32,
        (chunks, maxima): (Chunks, Buffer),
    ) -> Result<Self> {
        let best = best.min((parameters.config().features as u32).div_ceil(group));
        let candidates = || gpu.buffer("keys of candidates", u64::from(rows) * u64::from(best) * u64::from(group));
        Ok(Self {
            group,
            chunks,
            maxima,
            best: Codes::new(gpu, rows, best)?,
            candidate_values: candidates()?,
            candidate_keys: candidates()?,
        })
    }

    /// The best groups, by the largest key of each.
    pub fn record_maxima(
        &self,
        recording: &mut Recording,
        (maxima, select): (&GroupMaxima, &Select),
        arguments: SelectionArguments<'_>,
    ) {
        let SelectionArguments { parameters, centred, rows, .. } = arguments;
        for (shard, first, count) in self.chunks.of(parameters) {
            let of_chunk = GroupMaximaArguments {
                centred,
                w_enc: &shard.w_enc,
                b_enc: &shard.b_enc,
                norms: &shard.norms,
                maxima: &self.maxima,
                rows,
                quads: parameters.quads(),
                first,
                count,
                stride: self.stride(),
                scaled: parameters.config().rescale_acts_by_decoder_norm,
            };
            maxima.record(recording, &of_chunk);
            self.record_merge(recording, select, rows, (shard, first, count));
        }
    }

    /// Groups a chunk.
    pub fn stride(&self) -> u32 {
        self.chunks.0 / self.group
    }

    /// Merges a chunk's maxima into the best so far.
    pub fn record_merge(
        &self,
        recording: &mut Recording,
        select: &Select,
        rows: u32,
        (shard, first, count): (&Shard, u32, u32),
    ) {
        let before = (shard.first + first) / self.group;
        let params = select::Params {
            rows,
            k: self.best.k,
            filled: before.min(self.best.k),
            first: before,
            first_in_shard: 0,
            count: count.div_ceil(self.group),
            stride: self.stride(),
            scaled: 0,
            last: 0,
            columns: 0,
        };
        select.record(recording, select_bindings(&self.maxima, &shard.norms, &self.best, params));
    }

    /// The k largest keys in the best groups, not rectified; the codes name candidates, by their number in the row.
    pub fn record_candidates(
        &self,
        recording: &mut Recording,
        (rescore, select): (&Rescore, &Select),
        arguments: SelectionArguments<'_>,
    ) {
        let SelectionArguments { parameters, centred, codes, rows } = arguments;
        let Self { best, candidate_values, candidate_keys, .. } = self;
        let mut params = self.rescore_params(arguments);
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
        let count = best.k * self.group;
        let (filled, first, first_in_shard, stride, scaled, last, columns) = (0, 0, 0, count, 0, 0, 0);
        let select_params =
            select::Params { rows, k: codes.k, filled, first, first_in_shard, count, stride, scaled, last, columns };
        // Nothing is scaled here, so any buffer will do for the norms.
        select.record(recording, select_bindings(candidate_keys, candidate_values, codes, select_params));
    }

    /// The candidates' features and values, rectified.
    pub fn record_names(&self, recording: &mut Recording, rescore: &Rescore, arguments: SelectionArguments<'_>) {
        let bindings = rescore::name_features::Bindings {
            best_groups: &self.best.features,
            candidate_values: &self.candidate_values,
            features: &arguments.codes.features,
            values: &arguments.codes.values,
            keys: &arguments.codes.keys,
            params: self.rescore_params(arguments),
        };
        rescore.record_names(recording, bindings);
    }

    fn rescore_params(&self, arguments: SelectionArguments<'_>) -> rescore::Params {
        let SelectionArguments { parameters, codes, rows, .. } = arguments;
        rescore::Params {
            rows,
            quads: parameters.quads(),
            groups: self.best.k,
            group: self.group,
            first: 0,
            count: 0,
            scaled: u32::from(parameters.config().rescale_acts_by_decoder_norm),
            k: codes.k,
        }
    }
}
