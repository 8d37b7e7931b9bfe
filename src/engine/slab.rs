//! A step without lists, for batches with too many active entries: every row and feature is an element, a chunk of
//! features at a time, and nothing of size rows · features or features · d is held. The norm of the gradient is needed
//! before anything is applied, so each chunk's gradients are computed twice, unless there is only one chunk.

use super::apply::{Moments, Optimizer, update_params};
use super::backward::{Backward, Losses};
use super::entries::Pass;
use super::entry;
use super::forward::Forward;
use super::parameters::{Parameters, Shard};
use super::path::StepPath;
use super::recipe::{MomentPrecision, Recipe};
use super::select::{self, Chunk, Chunks, Encoded, RowBlock, SCRATCH_BYTES, ScreenMode};
use crate::error::Result;
use crate::gpu::shaders::{Range, bias_gradient, product, slab, squares, update};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot, UNIFORM_STRIDE};
use crate::kernels::SumShape;
use crate::sae::description::Keep;

/// Buffers and kernels of a step by slabs. The pre-activations of a chunk, `[rows, features of a chunk]`, are where the
/// selection has them.
pub struct Slab {
    encoded: Encoded,
    /// Of the elements: of their decoded values, then of u.
    gradients: Buffer,
    /// The same of the gate's field, then the gate's values.
    gates: Option<Buffer>,
    is_gate_detached: bool,
    /// Elements that would be listed, and that have a value: `[rows]` vec2.
    row_counts: Buffer,
    /// The gradients of a chunk's rows of W_enc and W_dec, `[features, quads]` vec4.
    encoder_rows: Buffer,
    decoder_rows: Buffer,
    /// The features of each chunk: [`Range`].
    ranges: Buffer,
    /// Number of chunks.
    chunks: usize,
    room: u32,
    constants: [f32; 4],
    kernels: Kernels,
}

struct Kernels {
    values: Pipeline<slab::values::Kernel>,
    count: Pipeline<slab::count::Kernel>,
    summary: Pipeline<slab::summary::Kernel>,
    slopes: Pipeline<slab::slopes::Kernel>,
    /// Decoded values · decoder rows, added up over chunks.
    reconstruct: Pipeline<product::main::Kernel>,
    /// Gradients of a field · decoder rows.
    project: Pipeline<product::main::Kernel>,
    /// Elements of a feature · rows, and the same added.
    collect: Pipeline<product::main::Kernel>,
    collect_more: Pipeline<product::main::Kernel>,
    squares_encoder: Pipeline<squares::encoder::Kernel>,
    squares_decoder: Pipeline<squares::decoder::Kernel>,
    bias_chunks: Pipeline<bias_gradient::chunks::Kernel>,
    encoder: Pipeline<update::encoder::Kernel>,
    decoder: Pipeline<update::decoder::Kernel>,
}

impl Kernels {
    fn new(gpu: &Gpu, parameters: &Parameters, recipe: &Recipe) -> Result<Self> {
        let (planes, description) = (parameters.planes().defines(), parameters.description());
        let (kind, gate) = (description.lists[0].entry, description.gate());
        let of_gate = [("GATE", gate.is_some().into()), ("DETACHED", gate.is_some_and(|gate| gate.detached).into())];
        let elements = [&planes[..], &entry::defines(kind, Pass::Training), &of_gate].concat();
        let bf16 = u32::from(recipe.moments != MomentPrecision::F32);
        let shape = SumShape::best(gpu.description()).defines();
        let dense = [&planes[..], &shape, &[("SECOND", 0), ("DENSE", 1)]].concat();
        let updates = [&dense[..], &[("BF16", bf16)]].concat();
        let product = |left_deep: u32, right_deep: u32, adds: u32| {
            gpu.pipeline(&[("LEFT_DEEP", left_deep), ("RIGHT_DEEP", right_deep), ("ADDS", adds)])
        };
        let entry = entry::entry(kind);
        Ok(Self {
            values: gpu.pipeline_with_entry(entry, &elements)?,
            count: gpu.pipeline_with_entry(entry, &elements)?,
            summary: gpu.pipeline_with_entry(entry, &elements)?,
            slopes: gpu.pipeline_with_entry(entry, &elements)?,
            reconstruct: product(1, 0, 1)?,
            project: product(1, 1, 0)?,
            collect: product(0, 0, 0)?,
            collect_more: product(0, 0, 1)?,
            squares_encoder: gpu.pipeline(&dense)?,
            squares_decoder: gpu.pipeline(&dense)?,
            // As under a closed form, any feature may have a gradient.
            bias_chunks: gpu.pipeline(&[&planes[..], &[("CLOSED", 1)]].concat())?,
            encoder: gpu.pipeline(&updates)?,
            decoder: gpu.pipeline(&updates)?,
        })
    }
}

impl Slab {
    /// Compiles the kernels and makes the buffers; none if the lists have room for any batch.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if they do not fit, [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu, parameters: &Parameters, forward: &Forward, recipe: &Recipe) -> Result<Option<Self>> {
        let description = parameters.description();
        let (rows, capacity) = (forward.rows(), forward.entries.second);
        let may_fill = matches!(description.lists[..], [list] if matches!(list.keep, Keep::Admitted { .. }))
            && u64::from(capacity) < u64::from(rows) * u64::from(parameters.features());
        let (Some(encoded), true) = (forward.selector().encoded(), may_fill) else { return Ok(None) };
        let gpu = &gpu.for_part("slabs");
        let row_bytes = 16 * u64::from(parameters.quads());
        let fitting = SCRATCH_BYTES.min(gpu.max_binding_bytes()) / row_bytes;
        let chunks = Chunks::at_most(parameters, 1, fitting.min(encoded.stride().into()));
        let encoded = Encoded { chunks, ..encoded.clone() };
        let ranges: Vec<[u32; UNIFORM_STRIDE as usize / 4]> = chunks.of(parameters).map(range_words).collect();
        let matrix = |name| gpu.buffer(name, u64::from(chunks.features()) * row_bytes / 4);
        let gate = description.gate();
        Ok(Some(Self {
            gradients: chunks.buffer(gpu, "gradients of elements", rows, 1)?,
            gates: gate.as_ref().map(|_| chunks.buffer(gpu, "gates of elements", rows, 1)).transpose()?,
            is_gate_detached: gate.is_some_and(|gate| gate.detached),
            row_counts: gpu.buffer("counts of elements", 2 * u64::from(rows))?,
            encoder_rows: matrix("gradients of encoder rows")?,
            decoder_rows: matrix("gradients of decoder rows")?,
            chunks: ranges.len(),
            ranges: gpu.buffer_from("features of chunks", ranges.as_flattened())?,
            room: StepPath::room(capacity),
            constants: entry::constants(description.lists[0].entry, rows),
            kernels: Kernels::new(gpu, parameters, recipe)?,
            encoded,
        }))
    }

    /// The reconstructions, and the active features of each row.
    pub fn record_forward(&self, recording: &mut Recording, losses: Losses<'_>) {
        let Losses { parameters, forward, .. } = losses;
        let gate = forward.gate.as_ref().map(|gate| &gate.field.sums);
        recording.clear(&self.row_counts);
        recording.clear(&forward.field.sums);
        gate.into_iter().for_each(|sums| recording.clear(sums));
        let mut params = slab::Params::default();
        for chunk in self.encoded.chunks.of(parameters) {
            params = self.params(losses, chunk);
            self.record_encode(recording, losses, chunk);
            let bindings = slab::values::Bindings {
                pre_activations: &self.encoded.pre_activations,
                gates: self.gates(),
                scalars: &chunk.shard.scalars,
                row_counts: &self.row_counts,
                params,
            };
            recording.run(&self.kernels.values, bindings);
            let fields = [(&self.encoded.pre_activations, Some(&forward.field.sums)), (self.gates(), gate)];
            for (left, sums) in fields.into_iter().filter_map(|(left, sums)| Some((left, sums?))) {
                let params = product::Params {
                    rows: forward.rows(),
                    columns: 4 * parameters.quads(),
                    depth: chunk.count,
                    left_line: self.line(),
                    right_line: parameters.quads(),
                    right_first: chunk.first,
                    line: parameters.quads(),
                    one: 1.0,
                };
                let bindings = product::main::Bindings { left, right: &chunk.shard.w_dec, product: sums, params };
                recording.run(&self.kernels.reconstruct, bindings);
            }
        }
        let (row_counts, rows, guard) = (&self.row_counts, &forward.row_statistics, &forward.guard);
        recording.run(&self.kernels.count, slab::count::Bindings { row_counts, rows, guard, params });
    }

    /// From the gradients of the fields to the sums of each chunk of the model.
    pub fn record_chunks(&self, recording: &mut Recording, backward: &Backward, losses: Losses<'_>, recipe: &Recipe) {
        backward.record_field_sums(recording, losses);
        for shard in &losses.parameters.shards {
            if let Some(closed) = backward.closed() {
                closed.record_shift(recording, losses, recipe, shard);
            }
            for (number, chunk) in self.chunks_of(losses.parameters, shard) {
                self.record_elements(recording, losses, chunk);
                let bindings = slab::summary::Bindings {
                    pre_activations: &self.encoded.pre_activations,
                    gradients: &self.gradients,
                    gates: self.gates(),
                    scalars: &shard.scalars,
                    rows: &losses.forward.row_statistics,
                    step: Slot::from(losses.step),
                    params: self.params(losses, chunk),
                };
                recording.run(&self.kernels.summary, bindings);
                if let Some(closed) = backward.closed() {
                    closed.record(recording, losses, recipe, shard, chunk.first..chunk.first + chunk.count);
                }
                self.record_matrices(recording, losses, chunk);
                let groups = backward.groups(chunk.count, squares::ROWS_PER_WORKGROUP);
                let params = backward.squares_params(losses, recipe, shard, groups);
                let (runs, terms, scalars) = (&backward.sorted.runs, &backward.terms, &shard.scalars);
                let (centred, g0, range) = (&self.encoder_rows, &self.decoder_rows, self.range(number));
                let hot = &backward.hot.encoder;
                let bindings = squares::encoder::Bindings { runs, terms, centred, scalars, hot, range, params };
                recording.run(&self.kernels.squares_encoder, bindings);
                let w_dec = &shard.w_dec;
                let bindings =
                    squares::decoder::Bindings { runs, terms, g0, g1: g0, w_dec, scalars, hot, range, params };
                recording.run(&self.kernels.squares_decoder, bindings);
            }
            backward.record_shard_chunks(recording, losses, shard, &self.kernels.bias_chunks);
        }
    }

    /// Takes the matrices of a shard a step further.
    pub fn record_update(
        &self,
        recording: &mut Recording,
        (optimizer, backward): (&Optimizer, &Backward),
        losses: Losses<'_>,
        recipe: &Recipe,
        number: usize,
    ) {
        let Losses { parameters, forward, step, .. } = losses;
        let (shard, moments) = (&parameters.shards[number], &optimizer.moments[number]);
        let (runs, terms, scalars) = (&backward.sorted.runs, &backward.terms, &shard.scalars);
        let (step, clip, guard) = (Slot::from(step), Slot::from(&backward.clip), Slot::from(&forward.guard));
        for (number, chunk) in self.chunks_of(parameters, shard) {
            if self.chunks > 1 {
                self.record_elements(recording, losses, chunk);
                self.record_matrices(recording, losses, chunk);
            }
            let params = update::Params {
                groups: backward.groups(chunk.count, update::ROWS_PER_WORKGROUP),
                ..update_params(parameters, forward.rows(), recipe, shard)
            };
            let range = self.range(number);
            let Moments { m, v } = &moments.w_enc;
            let (centred, weights, marks) = (&self.encoder_rows, &shard.w_enc, scalars);
            let bindings = update::encoder::Bindings {
                runs,
                terms,
                centred,
                weights,
                m,
                v,
                range,
                step,
                clip,
                guard,
                params,
                marks,
            };
            recording.run(&self.kernels.encoder, bindings);
            let Moments { m, v } = &moments.w_dec;
            let (g0, weights) = (&self.decoder_rows, &shard.w_dec);
            let bindings = update::decoder::Bindings {
                runs,
                terms,
                g0,
                g1: g0,
                scalars,
                weights,
                m,
                v,
                range,
                step,
                clip,
                guard,
                params,
            };
            recording.run(&self.kernels.decoder, bindings);
        }
    }

    /// The pre-activations of a chunk.
    fn record_encode(&self, recording: &mut Recording, losses: Losses<'_>, chunk: Chunk<'_>) {
        let Losses { parameters, forward, .. } = losses;
        let (centred, entries, guard, rows) = (&forward.centred, &forward.entries, &forward.guard, forward.rows());
        let screen = ScreenMode::default();
        let inputs = select::Inputs { parameters, centred, entries, guard, rows, k: 0, screen, halvings: 0 };
        self.encoded.record(recording, &inputs, RowBlock { first: 0, count: rows }, chunk);
    }

    /// The pre-activations of a chunk, and the gradients of what its elements decode to.
    fn record_elements(&self, recording: &mut Recording, losses: Losses<'_>, chunk: Chunk<'_>) {
        self.record_encode(recording, losses, chunk);
        let quads = losses.parameters.quads();
        let params = product::Params {
            rows: losses.forward.rows(),
            columns: chunk.count,
            depth: 4 * quads,
            left_line: quads,
            right_line: quads,
            right_first: chunk.first,
            line: self.line(),
            one: 1.0,
        };
        let [g0, g1] = losses.gradients(0);
        let fields = [(g0, Some(&self.gradients)), (g1, self.gates.as_ref())];
        for (left, product) in fields.into_iter().filter_map(|(left, product)| Some((left, product?))) {
            let bindings = product::main::Bindings { left, right: &chunk.shard.w_dec, product, params };
            recording.run(&self.kernels.project, bindings);
        }
    }

    /// The gradients of a chunk's rows of both matrices, from its elements.
    fn record_matrices(&self, recording: &mut Recording, losses: Losses<'_>, chunk: Chunk<'_>) {
        let bindings = slab::slopes::Bindings {
            pre_activations: &self.encoded.pre_activations,
            gradients: &self.gradients,
            gates: self.gates(),
            scalars: &chunk.shard.scalars,
            rows: &losses.forward.row_statistics,
            step: Slot::from(losses.step),
            params: self.params(losses, chunk),
        };
        recording.run(&self.kernels.slopes, bindings);
        let quads = losses.parameters.quads();
        let params = product::Params {
            rows: chunk.count,
            columns: 4 * quads,
            depth: losses.forward.rows(),
            left_line: self.line(),
            right_line: quads,
            right_first: 0,
            line: quads,
            one: 1.0,
        };
        let [g0, g1] = losses.gradients(0);
        let mut collect = |kernel, [left, right, product]: [&Buffer; 3]| {
            recording.run(kernel, product::main::Bindings { left, right, product, params });
        };
        let Kernels { collect: first, collect_more: more, .. } = &self.kernels;
        collect(first, [&self.gradients, &losses.forward.centred, &self.encoder_rows]);
        collect(first, [&self.encoded.pre_activations, g0, &self.decoder_rows]);
        if let Some(gates) = self.gates.as_ref().filter(|_| !self.is_gate_detached) {
            collect(more, [gates, g1, &self.decoder_rows]);
        }
    }

    /// The chunks of a shard, with their numbers.
    fn chunks_of<'a>(
        &self,
        parameters: &'a Parameters,
        shard: &'a Shard,
    ) -> impl Iterator<Item = (usize, Chunk<'a>)> + use<'a> {
        let chunks = self.encoded.chunks.of(parameters).enumerate();
        chunks.filter(|(_, chunk)| chunk.shard.first == shard.first)
    }

    fn range(&self, number: usize) -> Slot<'_> {
        Slot { buffer: &self.ranges, offset: UNIFORM_STRIDE * number as u64 }
    }

    /// The gates, or what stands in their place where no kernel reads them.
    fn gates(&self) -> &Buffer {
        self.gates.as_ref().unwrap_or(&self.encoder_rows)
    }

    /// Vectors of a row of elements.
    fn line(&self) -> u32 {
        self.encoded.stride() / 4
    }

    fn params(&self, losses: Losses<'_>, chunk: Chunk<'_>) -> slab::Params {
        let [c0, c1, c2, c3] = self.constants;
        slab::Params {
            rows: losses.forward.rows(),
            first: chunk.first,
            width: chunk.count,
            line: self.line(),
            count: chunk.shard.count,
            room: self.room,
            one: 1.0,
            c0,
            c1,
            c2,
            c3,
        }
    }
}

/// The features of a chunk, counted in its shard, as a [`Range`] in a slot.
fn range_words(chunk: Chunk<'_>) -> [u32; UNIFORM_STRIDE as usize / 4] {
    let range = Range { first_run: chunk.first, end_run: chunk.first + chunk.count, ..Range::default() };
    let mut words = [0; UNIFORM_STRIDE as usize / 4];
    words[..size_of::<Range>() / 4].copy_from_slice(bytemuck::cast_slice(&[range]));
    words
}
