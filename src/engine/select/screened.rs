//! The groups with the largest bounds from f16, the k largest keys in them, and all chunks in f32 if those are not
//! proven to be the k largest.

use std::sync::Arc;

use super::chunked::Chunked;
use super::chunks::{
    Chunk, Chunks, Limits, MAX_MULTIPLY_ADDS, MAX_MULTIPLY_ADDS_OF_MATRIX_UNITS, RowBlock, SCRATCH_BYTES,
};
use super::groups::{GroupSize, Groups, Parts};
use super::{Inputs, SelectionMethod, Selector};
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
}

pub(super) struct Screened {
    to_f16: ToF16,
    screen: Screen,
    check_bounds: CheckBounds,
    groups: Groups,
    /// For what is not certain; its pre-activations lie where the maxima do.
    chunked: Chunked,
    /// Of a block of rows.
    x: Halves,
    /// Of a chunk's weights.
    w: Halves,
    settings: Settings,
    uncertain: Buffer,
}

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
        let Settings { variant, groups } = settings;
        let (to_f16, screen) = (ToF16::new(gpu)?, Screen::new(gpu, variant)?);
        let rescore = Rescore::new(gpu, SCREEN_GROUP)?;
        let quads = parameters.quads();
        let size = GroupSize::new(gpu, parameters, rows, SCREEN_GROUP, groups);
        let rows = size.blocks.rows();
        let chunked = Chunked::new(gpu, parameters, [rows, parameters.config().usual_l0() as u32], encode)?;
        if !gpu.is_dry_run() {
            let probe = Probe::new(gpu)?;
            if !probe.bounds_hold(&to_f16, &screen)?
                || !probe.values_are_pre_activations(&rescore, &chunked.encoded.encode)?
            {
                return Ok(None);
            }
        }
        let is_fast = variant.is_cooperative() && !gpu.description().is_software();
        let multiply_adds = if is_fast { MAX_MULTIPLY_ADDS_OF_MATRIX_UNITS } else { MAX_MULTIPLY_ADDS };
        // The weights of a chunk must fit in f16 too, and its maxima where the pre-activations of another are.
        let weights_fit = SCRATCH_BYTES.min(gpu.max_binding_bytes()) / (u64::from(half_quads(quads)) * 8);
        let maxima_fit = u64::from(chunked.encoded.stride()) * u64::from(SCREEN_GROUP);
        let most = Chunks::new(gpu, parameters, &Limits { rows, group: SCREEN_GROUP, multiply_adds }).features();
        let chunks = Chunks::at_most(parameters, SCREEN_GROUP, weights_fit.min(maxima_fit).min(most.into()));
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
            chunked,
            x: Halves::new(gpu, rows, quads)?,
            w: Halves::new(gpu, chunks.features(), quads)?,
            settings,
            uncertain: gpu.buffer("uncertain rows", 1)?,
        }))
    }

    fn record_block(&self, recording: &mut Recording, inputs: &Inputs<'_>, block: RowBlock) {
        let &Inputs { parameters, centred, entries, .. } = inputs;
        let of_block = HalvesOf { source: centred, quads: parameters.quads(), first: block.first, count: block.count };
        self.to_f16.record(recording, of_block.bindings(&self.x));
        for chunk in self.groups.chunks.of(parameters) {
            self.record_bounds(recording, inputs, block, chunk);
            self.groups.record_merge(recording, inputs, block, chunk);
        }
        self.groups.record_candidates(recording, inputs, block);
        if self.leaves_out(parameters) {
            let bindings = check_bounds::main::Bindings {
                best_bounds: self.groups.best(),
                entries: &entries.list,
                uncertain: &self.uncertain,
                params: check_bounds::Params {
                    rows: block.count,
                    first_row: block.first,
                    groups: self.groups.size.best,
                    k: inputs.k,
                },
            };
            self.check_bounds.record(recording, bindings);
        }
        self.groups.record_codes(recording, inputs, block);
    }

    /// Whether there are groups that are not scored.
    fn leaves_out(&self, parameters: &Parameters) -> bool {
        u64::from(self.groups.size.best) * u64::from(SCREEN_GROUP) < parameters.config().features as u64
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
        recording.clear(&self.uncertain);
        let blocks = || self.groups.size.blocks.of(inputs.rows);
        for block in blocks() {
            self.record_block(recording, inputs, block);
        }
        if self.leaves_out(inputs.parameters) {
            recording.only_if(&self.uncertain, |recording| {
                for block in blocks() {
                    self.chunked.record_rows(recording, inputs, block);
                }
            });
        }
    }

    fn method(&self) -> SelectionMethod {
        let Settings { variant, groups } = self.settings;
        SelectionMethod::Screened { variant, groups }
    }

    fn uncertain(&self) -> &Buffer {
        &self.uncertain
    }
}
