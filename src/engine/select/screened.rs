//! The groups with the largest bounds from f16, the k largest keys in them, and for rows where those are not proven to
//! be the k largest all keys in f32.

use std::ops::Range;
use std::sync::Arc;

use super::chunked::Chunked;
use super::chunks::{
    Chunk, Chunks, Limits, RowBlock, SCRATCH_BYTES, max_multiply_adds, max_multiply_adds_of_matrix_units,
};
use super::groups::{GroupSize, Groups, Parts};
use super::rerun::Rerun;
use super::{Inputs, ScreenMode, SelectionMethod, Selector};
use crate::engine::entries::Pass;
use crate::engine::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::{check_bounds, screen_portable, to_f16};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::probe::Probe;
use crate::kernels::{
    CheckBounds, EncodeVariant, Rescore, SCREEN_GROUP, Screen, ScreenVariant, Select, ToF16, half_quads, margin,
};

/// Settings of [`SelectionMethod::Screened`].
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub variant: ScreenVariant,
    /// Groups that are scored, of each row.
    pub groups: u32,
    /// Training may have more of them scored.
    pub pass: Pass,
}

pub(super) struct Screened {
    to_f16: ToF16,
    screen: Screen,
    check_bounds: CheckBounds,
    groups: Groups,
    /// For whole batches; its pre-activations lie where the maxima do.
    chunked: Chunked,
    /// For the rows that are not certain.
    rerun: Rerun,
    /// Of a block of rows.
    x: Halves,
    /// Of a chunk's weights.
    w: Halves,
    settings: Settings,
}

/// How many times the usual number of groups training may come to score.
const MOST_GROUPS: u32 = 2;

/// Rows in f16.
struct Halves {
    halves: Buffer,
    bounds: Buffer,
}

impl Halves {
    fn new(gpu: &Gpu, rows: u32, quads: u32) -> Result<Self> {
        let words = u64::from(rows) * u64::from(half_quads(quads)) * 2;
        Ok(Self { halves: gpu.buffer("rows in f16", words)?, bounds: gpu.buffer("rows in f16", u64::from(rows) * 4)? })
    }
}

impl Screened {
    /// Compiles the kernels and makes the scratch for at most `rows` rows; none if the bounds are none, or if keys
    /// computed once more are not those of `encode`.
    pub fn new(
        gpu: &Gpu,
        parameters: &Parameters,
        rows: u32,
        encode: EncodeVariant,
        settings: Settings,
    ) -> Result<Option<Self>> {
        let Settings { variant, groups, pass } = settings;
        let most = if pass == Pass::Training { MOST_GROUPS * groups } else { groups };
        let (to_f16, screen) = (ToF16::new(gpu)?, Screen::new(gpu, variant)?);
        let rescore = Rescore::new(gpu, SCREEN_GROUP)?;
        let quads = parameters.quads();
        let size = GroupSize::new(gpu, parameters, rows, SCREEN_GROUP, [groups, most]);
        let (batch, rows) = (rows, size.blocks.rows());
        let chunked = Chunked::new(gpu, parameters, [rows, parameters.config().usual_l0() as u32], encode)?;
        if !gpu.is_dry_run() {
            let probe = Probe::new(gpu)?;
            if !probe.bounds_hold(&to_f16, &screen)?
                || !probe.values_are_pre_activations(&rescore, &chunked.encoded.encode)?
            {
                return Ok(None);
            }
        }
        let is_fast = variant.is_cooperative() && !gpu.description().takes_cpu_kernels();
        let multiply_adds = if is_fast { max_multiply_adds_of_matrix_units } else { max_multiply_adds };
        let multiply_adds = multiply_adds(gpu.description());
        // The weights of a chunk must fit in f16 too, and its maxima where the pre-activations of another are.
        let weights_fit = SCRATCH_BYTES.min(gpu.max_binding_bytes()) / (u64::from(half_quads(quads)) * 8);
        let maxima_fit = u64::from(chunked.encoded.stride()) * u64::from(SCREEN_GROUP);
        let most = Chunks::new(gpu, parameters, &Limits { rows, group: SCREEN_GROUP, multiply_adds }).features();
        let chunks = Chunks::at_most(parameters, SCREEN_GROUP, weights_fit.min(maxima_fit).min(most.into()));
        let chunks = chunks.balanced(parameters);
        let parts = Parts {
            select: chunked.select.clone(),
            select_groups: Arc::new(Select::new(gpu, groups)?),
            rescore,
            chunks,
            maxima: chunked.encoded.pre_activations.clone(),
        };
        Ok(Some(Self {
            to_f16,
            screen,
            check_bounds: CheckBounds::new(gpu)?,
            groups: Groups::new(gpu, parameters, size, parts)?,
            rerun: Rerun::new(gpu, parameters, batch, &chunked)?,
            chunked,
            x: Halves::new(gpu, rows, quads)?,
            w: Halves::new(gpu, chunks.features(), quads)?,
            settings,
        }))
    }

    fn record_block(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock) {
        let &Inputs { parameters, centred, entries, .. } = inputs;
        let of_block = HalvesOf { source: centred, quads: parameters.quads(), first: block.first, count: block.count };
        self.to_f16.record(recording, of_block.bindings(&self.x));
        for chunk in inputs.chunks(self.groups.chunks) {
            self.record_bounds(recording, inputs, block, chunk);
            self.groups.record_merge(recording, inputs, block, chunk);
        }
        self.groups.record_candidates(recording, inputs, block);
        // Keys as they are: were a negative one counted as 0, a group between would seem to be ruled out.
        if self.leaves_out(inputs) {
            let bindings = check_bounds::main::Bindings {
                best_bounds: self.groups.best(),
                entries: &entries.list,
                audit: &self.rerun.audit,
                reruns: &self.rerun.list,
                params: check_bounds::Params {
                    rows: block.count,
                    first_row: block.first,
                    groups: self.groups.scored(inputs),
                    k: inputs.k,
                    room: self.rerun.room,
                },
            };
            self.check_bounds.record(recording, bindings);
        }
        self.groups.record_codes(recording, inputs, block);
    }

    fn record_in_f32(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        for block in self.groups.size.blocks.of(inputs.rows) {
            self.chunked.record_rows(recording, inputs, &inputs.entries.list, block);
        }
    }

    /// Whether there are groups that are not scored.
    fn leaves_out(&self, inputs: &Inputs<'_>) -> bool {
        let features = inputs.parameters.config().features as u64;
        u64::from(self.groups.scored(inputs)) * u64::from(SCREEN_GROUP) < features
    }

    fn record_bounds(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock, chunk: Chunk<'_>) {
        let quads = inputs.parameters.quads();
        let of_chunk = HalvesOf { source: &chunk.shard.w_enc, quads, first: chunk.first, count: chunk.count };
        self.to_f16.record(recording, of_chunk.bindings(&self.w));
        let bindings = screen_portable::main::Bindings {
            x_halves: &self.x.halves,
            x_bounds: &self.x.bounds,
            w_halves: &self.w.halves,
            w_bounds: &self.w.bounds,
            scalars: &chunk.shard.scalars,
            maxima: &self.groups.maxima,
            params: screen_portable::Params {
                rows: block.count,
                line: half_quads(quads),
                first: chunk.first,
                width: chunk.count,
                count: chunk.shard.count,
                stride: self.groups.stride(),
                scaled: inputs.scaled(),
                margin: margin(quads),
            },
        };
        self.screen.record(recording, bindings);
    }
}

/// Rows that are to be in f16.
struct HalvesOf<'a> {
    source: &'a Buffer,
    quads: u32,
    first: u32,
    count: u32,
}

impl<'a> HalvesOf<'a> {
    fn bindings(&self, Halves { halves, bounds }: &'a Halves) -> to_f16::main::Bindings<'a>
    where
        Self: 'a,
    {
        let &Self { source, quads, first, count } = self;
        to_f16::main::Bindings {
            source,
            halves,
            bounds,
            params: to_f16::Params { quads, line: half_quads(quads), first, count },
        }
    }
}

impl Selector for Screened {
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        recording.clear(&self.rerun.list);
        if inputs.screen == ScreenMode::Off {
            return self.record_in_f32(recording, inputs);
        }
        for block in self.groups.size.blocks.of(inputs.rows) {
            self.record_block(recording, inputs, block);
        }
        if self.leaves_out(inputs) {
            self.rerun.record(recording, inputs);
            if inputs.screen == ScreenMode::Complete && inputs.rows > self.rerun.room {
                recording.only_if(self.rerun.overfull(), |recording| self.record_in_f32(recording, inputs));
            }
        }
    }

    fn method(&self) -> SelectionMethod {
        let Settings { variant, groups, .. } = self.settings;
        SelectionMethod::Screened { variant, groups }
    }

    fn uncertain(&self) -> &Buffer {
        &self.rerun.list
    }

    fn audit(&self, gpu: &Gpu, rows: Range<u32>) {
        gpu.upload(&self.rerun.audit, 0, &[rows.start, rows.end - rows.start]);
    }
}
