//! The groups with the largest bounds from f16, the k largest keys in them, and all chunks in f32 if those are not proven to be it.

use super::{ChunkScratch, Chunks, GroupScratch, SCREEN_GROUP, SelectionArguments};
use crate::error::Result;
use crate::gpu::shaders::{certify, halve};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{SCRATCH_BYTES, ScreenArguments, ScreeningKernels, Select, half_quads};
use crate::sae::{Parameters, Shard};

pub(super) struct ScreenScratch {
    groups: GroupScratch,
    /// For what is not certain; its pre-activations lie where the maxima do.
    chunked: ChunkScratch,
    x: Halves,
    /// Of a chunk's weights.
    w: Halves,
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

impl ScreenScratch {
    /// For so many rows and scored groups a row, and so much work a dispatch.
    pub fn new(gpu: &Gpu, parameters: &Parameters, (rows, groups): (u32, u32), multiply_adds: u64) -> Result<Self> {
        let quads = parameters.quads();
        let chunked = ChunkScratch::new(gpu, parameters, rows)?;
        // The weights of a chunk must fit in f16 too, and its maxima where the pre-activations of another are.
        let weights_fit = SCRATCH_BYTES.min(gpu.max_binding_bytes()) / (u64::from(half_quads(quads)) * 8);
        let maxima_fit = u64::from(chunked.chunks.0) * u64::from(SCREEN_GROUP);
        let most = Chunks::new(gpu, parameters, rows, SCREEN_GROUP, multiply_adds).0;
        let chunks = Chunks::at_most(parameters, SCREEN_GROUP, weights_fit.min(maxima_fit).min(most.into()));
        let maxima = chunked.pre_activations.clone();
        Ok(Self {
            groups: GroupScratch::new(gpu, parameters, (rows, groups), SCREEN_GROUP, (chunks, maxima))?,
            chunked,
            x: Halves::new(gpu, rows, quads)?,
            w: Halves::new(gpu, chunks.0, quads)?,
        })
    }

    pub fn record(
        &self,
        recording: &mut Recording,
        (kernels, select): (&ScreeningKernels, &Select),
        arguments: SelectionArguments<'_>,
        uncertain: &Buffer,
    ) {
        let SelectionArguments { parameters, centred, codes, rows } = arguments;
        recording.clear(uncertain);
        kernels.halve.record(recording, halve_bindings(centred, parameters.quads(), (0, rows), &self.x));
        for chunk in self.groups.chunks.of(parameters) {
            self.record_bounds(recording, kernels, arguments, chunk);
            self.groups.record_merge(recording, &kernels.select_groups, rows, chunk);
        }
        self.groups.record_candidates(recording, (&kernels.rescore, select), arguments);
        let best = &self.groups.best;
        let leaves_out = u64::from(best.k) * u64::from(SCREEN_GROUP) < parameters.config().features as u64;
        if leaves_out {
            let bindings = certify::main::Bindings {
                best_bounds: &best.keys,
                keys: &codes.keys,
                uncertain,
                params: certify::Params { rows, groups: best.k, k: codes.k },
            };
            kernels.certify.record(recording, bindings);
        }
        self.groups.record_names(recording, &kernels.rescore, arguments);
        if leaves_out {
            recording.only_if(uncertain, |recording| {
                self.chunked.record(recording, (&kernels.encode, select), arguments);
            });
        }
    }

    fn record_bounds(
        &self,
        recording: &mut Recording,
        kernels: &ScreeningKernels,
        arguments: SelectionArguments<'_>,
        (shard, first, count): (&Shard, u32, u32),
    ) {
        let SelectionArguments { parameters, rows, .. } = arguments;
        let quads = parameters.quads();
        kernels.halve.record(recording, halve_bindings(&shard.w_enc, quads, (first, count), &self.w));
        let arguments = ScreenArguments {
            x_halves: &self.x.halves,
            x_bounds: &self.x.bounds,
            w_halves: &self.w.halves,
            w_bounds: &self.w.bounds,
            b_enc: &shard.b_enc,
            norms: &shard.norms,
            maxima: &self.groups.maxima,
            rows,
            quads,
            first,
            count,
            stride: self.groups.stride(),
            scaled: parameters.config().rescale_acts_by_decoder_norm,
        };
        kernels.screen.record(recording, &arguments);
    }
}

fn halve_bindings<'a>(
    source: &'a Buffer,
    quads: u32,
    (first, count): (u32, u32),
    Halves { halves, bounds }: &'a Halves,
) -> halve::main::Bindings<'a> {
    halve::main::Bindings {
        source,
        halves,
        bounds,
        params: halve::Params { quads, line: half_quads(quads), first, count },
    }
}
