//! The groups of features with the largest keys, and the k largest keys in them.

use std::sync::Arc;

use super::chunks::{Chunks, Limits, max_multiply_adds};
use super::groups::{GroupSize, Groups, Parts};
use super::{Inputs, ScreenMode, SelectionMethod, Selector};
use crate::engine::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::encode_tiled;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::probe::Probe;
use crate::kernels::{EncodeVariant, GroupMaxima, Rescore, Select};

pub(super) struct Grouped {
    maxima: GroupMaxima,
    groups: Groups,
    /// Always 0.
    uncertain: Buffer,
}

impl Grouped {
    /// Compiles the kernels and makes the scratch for at most `rows` rows; none if group maxima are of other
    /// groups, or not, to the bit, the largest of the keys that are computed once more.
    pub fn new(
        gpu: &Gpu,
        parameters: &Parameters,
        rows: u32,
        encode: EncodeVariant,
        group: u32,
    ) -> Result<Option<Self>> {
        let (maxima, rescore) = (GroupMaxima::new(gpu, encode)?, Rescore::new(gpu, group)?);
        if maxima.group() != group {
            return Ok(None);
        }
        if !gpu.is_dry_run() && !Probe::new(gpu)?.maxima_are_keys(&maxima, &rescore)? {
            return Ok(None);
        }
        let k = parameters.config().usual_l0() as u32;
        let size = GroupSize::new(gpu, parameters, rows, group, [k, k]);
        let rows = size.blocks.rows();
        let limits = Limits { rows, group, multiply_adds: max_multiply_adds(gpu.description()) };
        let chunks = Chunks::new(gpu, parameters, &limits).balanced(parameters);
        let select = Arc::new(Select::new(gpu, k)?);
        let parts = Parts {
            select_groups: select.clone(),
            select,
            rescore,
            chunks,
            maxima: chunks.buffer(gpu, "maxima of groups", rows, group)?,
        };
        let groups = Groups::new(gpu, parameters, size, parts)?;
        Ok(Some(Self { maxima, groups, uncertain: gpu.buffer("uncertain rows", 1)? }))
    }
}

impl Selector for Grouped {
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        let inputs = &Inputs { screen: ScreenMode::Complete, ..*inputs };
        for block in self.groups.size.blocks.of(inputs.rows) {
            for chunk in inputs.chunks(self.groups.chunks) {
                let params = encode_tiled::Params {
                    rows: block.count,
                    quads: inputs.parameters.quads(),
                    first_row: block.first,
                    first: chunk.first,
                    width: chunk.count,
                    count: chunk.shard.count,
                    stride: self.groups.stride(),
                    scaled: inputs.scaled(),
                    ..Default::default()
                };
                let bindings = encode_tiled::group_maxima::Bindings {
                    centred: inputs.centred,
                    w_enc: &chunk.shard.w_enc,
                    scalars: &chunk.shard.scalars,
                    maxima: &self.groups.maxima,
                    params,
                };
                self.maxima.record(recording, bindings);
                self.groups.record_merge(recording, inputs, block, chunk);
            }
            self.groups.record_candidates(recording, inputs, block);
            self.groups.record_codes(recording, inputs, block);
        }
    }

    fn method(&self) -> SelectionMethod {
        SelectionMethod::Grouped { group: self.groups.size.group }
    }

    fn uncertain(&self) -> &Buffer {
        &self.uncertain
    }
}
