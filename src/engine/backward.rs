//! The backward pass: the entries by feature, their terms, and what must be known of all gradients before any is
//! applied.

use std::ops::Range;

use super::closed::Closed;
use super::entries::Pass;
use super::entry;
use super::forward::Forward;
use super::hot::{Hot, sum_defines};
use super::parameters::{CHUNKS, Parameters, Shard};
use super::planes::Planes;
use super::recipe::Recipe;
use crate::error::Result;
use crate::gpu::shaders::gate::GRID_WIDTH;
use crate::gpu::shaders::{bias_gradient, clip, slopes, squares, summary};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot};
use crate::kernels::{SlopesVariant, Sort, Sorted};
use crate::sae::description::Description;

/// Buffers and kernels of a backward pass.
pub struct Backward {
    /// The entries by feature, whose runs are known for each of `ranges`.
    pub sorted: Sorted,
    /// The features of each shard, by level.
    pub ranges: Vec<Vec<LevelRange>>,
    /// The contribution of each sorted entry to its feature's gradients: `[capacity]` (place, p, a0, a1).
    pub terms: Buffer,
    /// Gradients of features with many terms.
    pub hot: Hot,
    /// By blocks of rows, `[row blocks, quads]` vec4.
    pub row_blocks: Buffer,
    /// The encoder's part of b_dec's gradient by chunk, `[CHUNKS, quads]` vec4.
    pub chunk_sums: Buffer,
    /// Squared norms of the features' gradients by chunk, `[CHUNKS]`.
    pub chunk_squares: Buffer,
    /// The penalty and the closed form's loss by chunk, `[CHUNKS]` vec2.
    pub chunk_losses: Buffer,
    /// `[quads]` vec4.
    pub b_dec_gradient: Buffer,
    /// The norm of the whole gradient, and what it is multiplied by.
    pub clip: Buffer,
    kernels: Kernels,
    /// Workgroups of a dispatch whose work only the device knows, at most.
    wave: u32,
}

/// Features of a shard that are of one level: their decoder rows have the same gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelRange {
    /// Its number among all of them.
    pub number: usize,
    /// The narrowest is 0.
    pub level: usize,
    /// Features in it.
    pub features: u32,
}

struct Kernels {
    sort: Sort,
    slopes: Pipeline<slopes::main::Kernel>,
    summary: Pipeline<summary::main::Kernel>,
    squares_encoder: Pipeline<squares::encoder::Kernel>,
    squares_decoder: Pipeline<squares::decoder::Kernel>,
    bias_rows: Pipeline<bias_gradient::rows::Kernel>,
    bias_chunks: Pipeline<bias_gradient::chunks::Kernel>,
    bias_squares: Pipeline<bias_gradient::squares::Kernel>,
    bias_finish: Pipeline<bias_gradient::finish::Kernel>,
    clip: Pipeline<clip::main::Kernel>,
    closed: Option<Closed>,
}

/// Operands of a backward pass.
#[derive(Clone, Copy)]
pub struct Losses<'a> {
    /// The SAE.
    pub parameters: &'a Parameters,
    /// The forward pass of the batch.
    pub forward: &'a Forward,
    /// The gradient of list 1's field, or of the gate's, if there is one.
    pub second_gradient: Option<&'a Buffer>,
    /// Constants of the step.
    pub step: &'a Buffer,
}

impl<'a> Losses<'a> {
    pub(super) fn lists(self) -> u32 {
        self.forward.entries.starts.len() as u32
    }

    /// The gradients at what list 0 and list 1 decode to, for features of a level.
    pub fn gradients(self, level: usize) -> [&'a Buffer; 2] {
        let first = self.forward.gradient(level);
        [first, self.second_gradient.unwrap_or(first)]
    }
}

impl Backward {
    /// Compiles the kernels, and makes the buffers.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if they do not fit, [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu, parameters: &Parameters, forward: &Forward) -> Result<Self> {
        let planes = parameters.planes().defines();
        let description = parameters.description();
        let squares = [&planes[..], &sum_defines(gpu, description)].concat();
        let kind = description.lists[0].entry;
        let slopes = slopes_defines(description, SlopesVariant::best(gpu.description()));
        let kernels = Kernels {
            sort: Sort::new(gpu)?,
            slopes: gpu.pipeline_with_entry(entry::entry(kind), &slopes)?,
            // Terms with two extras would take too many registers.
            summary: gpu
                .pipeline(&[&planes[..], &[("AHEAD", if description.extras() > 1 { 2 } else { 4 })]].concat())?,
            squares_encoder: gpu.pipeline(&squares)?,
            squares_decoder: gpu.pipeline(&squares)?,
            bias_rows: gpu.pipeline(&planes)?,
            bias_chunks: gpu.pipeline(&planes)?,
            bias_squares: gpu.pipeline(&planes)?,
            bias_finish: gpu.pipeline(&planes)?,
            clip: gpu.pipeline(&[])?,
            closed: description.closed_form.map(|closed_form| Closed::new(gpu, parameters, closed_form)).transpose()?,
        };
        let capacity = forward.entries.capacity;
        let widths: Vec<u32> = forward.inner.iter().map(|inner| inner.below).collect();
        let (ranges, features) = level_ranges(&parameters.shards, &widths);
        let width = u64::from(parameters.quads()) * 4;
        let row_blocks = forward.rows().div_ceil(bias_gradient::BLOCK_ROWS);
        let codes = &gpu.for_part("codes");
        let hot = Hot::new(gpu, parameters, forward)?;
        let gpu = &gpu.for_part("gradients");
        Ok(Self {
            sorted: Sorted::new(codes, capacity, parameters.features(), &features, hot.slots())?,
            hot,
            ranges,
            terms: codes.buffer("terms", 4 * u64::from(1 + description.extras()) * u64::from(capacity))?,
            row_blocks: gpu.buffer("gradient by row block", u64::from(row_blocks) * width)?,
            chunk_sums: gpu.buffer("encoder part by chunk", u64::from(CHUNKS) * width)?,
            chunk_squares: gpu.buffer("squared norms by chunk", CHUNKS.into())?,
            chunk_losses: gpu.buffer("losses by chunk", 2 * u64::from(CHUNKS))?,
            b_dec_gradient: gpu.buffer("gradient of b_dec", width)?,
            clip: gpu.buffer("clip", 2)?,
            kernels,
            wave: wave(gpu),
        })
    }

    /// From the gradients of the fields to the sums of each chunk.
    pub fn record_chunks(&self, recording: &mut Recording, losses: Losses<'_>, recipe: &Recipe) {
        let entries = &losses.forward.entries;
        self.kernels.sort.record(recording, &entries.list, &entries.counts, entries.second, &self.sorted);
        self.record_field_sums(recording, losses);
        for (shard, ranges) in losses.parameters.shards.iter().zip(&self.ranges) {
            if let Some(closed) = &self.kernels.closed {
                closed.record_shift(recording, losses, recipe, shard);
            }
            for range in ranges {
                self.record_terms(recording, losses, shard, *range);
                self.hot.record(recording, self, losses, *range);
            }
            if let Some(closed) = &self.kernels.closed {
                closed.record(recording, losses, recipe, shard, 0..shard.count);
            }
            ranges.iter().for_each(|range| self.record_squares(recording, losses, recipe, shard, *range));
            self.record_shard_chunks(recording, losses, shard, &self.kernels.bias_chunks);
        }
    }

    /// The closed form, if there is one.
    pub(super) fn closed(&self) -> Option<&Closed> {
        self.kernels.closed.as_ref()
    }

    /// Sums the gradients of the fields that have the decoder's bias over blocks of rows.
    pub(super) fn record_field_sums(&self, recording: &mut Recording, losses: Losses<'_>) {
        // The narrowest level's gradient is that of all.
        self.record_row_sums(recording, losses, losses.forward.gradient(0), false);
        let gate = losses.parameters.description().gate().filter(|gate| gate.bias && !gate.detached);
        if let (Some(_), Some(gradient)) = (gate, losses.second_gradient) {
            self.record_row_sums(recording, losses, gradient, true);
        }
    }

    /// Sums the gradient of a field over blocks of rows, or adds it to what was summed before.
    fn record_row_sums(&self, recording: &mut Recording, losses: Losses<'_>, gradient: &Buffer, adds: bool) {
        let row_blocks = &self.row_blocks;
        let params = bias_gradient::Params { adds: adds.into(), ..self.bias_params(losses, 0, 0) };
        recording.run(&self.kernels.bias_rows, bias_gradient::rows::Bindings { gradient, row_blocks, params });
    }

    /// From the sums of all chunks to the clipped norm.
    pub fn record_clip(&self, recording: &mut Recording, losses: Losses<'_>, recipe: &Recipe) {
        let Self { row_blocks, chunk_sums, chunk_squares, b_dec_gradient, clip, .. } = self;
        let params = self.bias_params(losses, 0, 0);
        let bindings = bias_gradient::finish::Bindings { row_blocks, chunk_sums, b_dec_gradient, params };
        recording.run(&self.kernels.bias_finish, bindings);
        let limit = recipe.clip.unwrap_or(0.0) as f32;
        let params = clip::Params { quads: losses.parameters.quads(), limit, one: 1.0 };
        let guard = &losses.forward.guard;
        recording.run(&self.kernels.clip, clip::main::Bindings { chunk_squares, b_dec_gradient, clip, guard, params });
    }

    /// Workgroups for what the device alone can count, of which there are at most `most`, `per_workgroup` at a time.
    pub fn groups(&self, most: u32, per_workgroup: u32) -> u32 {
        most.div_ceil(per_workgroup).clamp(1, self.wave)
    }

    /// Workgroups for `count` pieces of work, `per_workgroup` at a time: all at once on a GPU; on a CPU, where a
    /// workgroup costs as much as a piece, as many as keep it busy.
    pub fn groups_for_all(&self, count: u32, per_workgroup: u32) -> u32 {
        let groups = count.div_ceil(per_workgroup);
        if self.wave < GRID_WIDTH { groups.clamp(1, self.wave) } else { groups }
    }

    /// The most runs that a range can have.
    pub fn most_runs(&self, range: LevelRange) -> u32 {
        self.sorted.capacity().min(range.features)
    }

    fn record_terms(&self, recording: &mut Recording, losses: Losses<'_>, shard: &Shard, range: LevelRange) {
        let [g0, g1] = losses.gradients(range.level);
        let kind = losses.parameters.description().lists[0].entry;
        let [c0, c1, c2, c3] = entry::constants(kind, losses.forward.rows());
        let bindings = slopes::main::Bindings {
            pairs: self.sorted.pairs(),
            entries: &losses.forward.entries.list,
            g0,
            g1,
            w_dec: &shard.w_dec,
            scalars: &shard.scalars,
            rows: &losses.forward.row_statistics,
            terms: &self.terms,
            range: self.sorted.range(range.number),
            step: Slot::from(losses.step),
            params: slopes::Params {
                quads: losses.parameters.quads(),
                first: shard.first,
                count: shard.count,
                groups: self.groups(self.sorted.capacity(), slopes::TERMS),
                c0,
                c1,
                c2,
                c3,
            },
        };
        recording.run(&self.kernels.slopes, bindings);
        let bindings = summary::main::Bindings {
            runs: &self.sorted.runs,
            terms: &self.terms,
            scalars: &shard.scalars,
            hot_runs: &self.hot.runs,
            range: self.sorted.range(range.number),
            params: summary::Params {
                first: shard.first,
                count: shard.count,
                blocks: losses.forward.rows().div_ceil(bias_gradient::BLOCK_ROWS),
                lists: losses.lists(),
                groups: self.groups(self.most_runs(range), summary::TEAMS),
                one: 1.0,
            },
        };
        recording.run(&self.kernels.summary, bindings);
    }

    fn record_squares(
        &self,
        recording: &mut Recording,
        losses: Losses<'_>,
        recipe: &Recipe,
        shard: &Shard,
        range: LevelRange,
    ) {
        let [g0, g1] = losses.gradients(range.level);
        let most_rows = if self.kernels.closed.is_some() { shard.count } else { self.most_runs(range) };
        let groups = self.groups(most_rows, squares::ROWS_PER_WORKGROUP);
        let params = self.squares_params(losses, recipe, shard, groups);
        let (runs, terms, scalars) = (&self.sorted.runs, &self.terms, &shard.scalars);
        let (centred, range) = (&losses.forward.centred, self.sorted.range(range.number));
        let hot = &self.hot.encoder;
        let bindings = squares::encoder::Bindings { runs, terms, centred, scalars, hot, range, params };
        recording.run(&self.kernels.squares_encoder, bindings);
        let (w_dec, hot) = (&shard.w_dec, &self.hot.decoder);
        let bindings = squares::decoder::Bindings { runs, terms, g0, g1, w_dec, scalars, hot, range, params };
        recording.run(&self.kernels.squares_decoder, bindings);
    }

    pub(super) fn squares_params(
        &self,
        losses: Losses<'_>,
        recipe: &Recipe,
        shard: &Shard,
        groups: u32,
    ) -> squares::Params {
        squares::Params {
            rows: losses.forward.rows(),
            quads: losses.parameters.quads(),
            first: shard.first,
            count: shard.count,
            groups,
            project: recipe.unit_norm_decoder.into(),
            one: 1.0,
        }
    }

    /// Sums what `bias_chunks` and the squares of a shard give to each chunk.
    pub(super) fn record_shard_chunks(
        &self,
        recording: &mut Recording,
        losses: Losses<'_>,
        shard: &Shard,
        bias_chunks: &Pipeline<bias_gradient::chunks::Kernel>,
    ) {
        let params = self.bias_params(losses, shard.first, shard.count);
        let bindings = bias_gradient::chunks::Bindings {
            runs: &self.sorted.runs,
            bounds: &self.sorted.bounds,
            w_enc: &shard.w_enc,
            scalars: &shard.scalars,
            chunk_sums: &self.chunk_sums,
            params,
        };
        recording.run(bias_chunks, bindings);
        let (scalars, chunk_squares, chunk_losses) = (&shard.scalars, &self.chunk_squares, &self.chunk_losses);
        let bindings = bias_gradient::squares::Bindings { scalars, chunk_squares, chunk_losses, params };
        recording.run(&self.kernels.bias_squares, bindings);
    }

    fn bias_params(&self, losses: Losses<'_>, first: u32, count: u32) -> bias_gradient::Params {
        let Losses { parameters, forward, .. } = losses;
        bias_gradient::Params {
            rows: forward.rows(),
            quads: parameters.quads(),
            first,
            count,
            chunk: parameters.chunk(),
            input_centred: u32::from(parameters.config().apply_b_dec_to_input),
            adds: 0,
            one: 1.0,
        }
    }
}

/// The definitions of `shaders/slopes.wgsl`.
pub fn slopes_defines(description: &Description, variant: SlopesVariant) -> Vec<(&'static str, u32)> {
    let (kind, gate) = (description.lists[0].entry, description.gate());
    let gradients = [
        ("SECOND", description.has_second_gradient().into()),
        ("GATE", gate.is_some().into()),
        ("DETACHED", gate.is_some_and(|gate| gate.detached).into()),
    ];
    let planes = Planes::training(description).defines();
    [&planes[..], &entry::defines(kind, Pass::Training), &gradients, &variant.defines()].concat()
}

/// The ranges of each shard, cut at `widths`, and the features of all of them in order.
fn level_ranges(shards: &[Shard], widths: &[u32]) -> (Vec<Vec<LevelRange>>, Vec<Range<u32>>) {
    let mut features = Vec::new();
    let mut of_shard = |shard: &Shard| {
        let (mut ranges, end) = (Vec::new(), shard.first + shard.count);
        let mut first = shard.first;
        while first < end {
            let level = widths.partition_point(|width| *width <= first);
            let next = widths.get(level).map_or(end, |width| end.min(*width));
            ranges.push(LevelRange { number: features.len(), level, features: next - first });
            features.push(first..next);
            first = next;
        }
        ranges
    };
    (shards.iter().map(&mut of_shard).collect(), features)
}

/// Workgroups that keep a device busy: what a dispatch of unknown work takes at most.
fn wave(gpu: &Gpu) -> u32 {
    let threads = || std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32);
    // A grid of two dimensions has more workgroups than it was asked for, which would repeat the work of others.
    if gpu.description().takes_cpu_kernels() { GRID_WIDTH.min(16 * threads()) } else { GRID_WIDTH }
}
