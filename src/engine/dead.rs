//! AuxK: the dead features, the list of those with the largest keys of each row, and the field that it is decoded to.

use std::ops::Range;

use super::apply::Optimizer;
use super::field::{Field, Level, Listed};
use super::forward::Forward;
use super::parameters::{BLOCK_FEATURES, Parameters, Shard};
use super::planes::Plane;
use super::recipe::Recipe;
use super::select::{Chunks, Limits, max_multiply_adds};
use super::variance::{Variance, VarianceInputs, VarianceOf};
use crate::error::Result;
use crate::gpu::shaders::{dead, encode_tiled, mark, residual, select_wide, variance};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot, UNIFORM_STRIDE};
use crate::kernels::{Encode, EncodeVariant};
use crate::sae::description::{Counted, DeadList, Factor, FieldSpec, KeyScale};

/// The fewest dead features that are encoded at a time, if a shard has that many.
const SMALLEST_CHUNK: u32 = 1024;

/// The most.
const LARGEST_CHUNK: u32 = 8192;

/// Room for dead features that is worth no change.
const SMALLEST_ROOM: u32 = LARGEST_CHUNK;

/// The room for the dead features of the next steps, if `dead` are now and there is room for `room` of `features`. All
/// chunks of a model of a million features would be hundreds of dispatches that do nothing.
pub fn room_for(dead: u32, room: u32, features: u32) -> u32 {
    let wanted = dead.saturating_mul(2).max(SMALLEST_ROOM).checked_next_power_of_two().unwrap_or(features);
    let is_right = room > dead + dead / 4 && room <= wanted.saturating_mul(4);
    if is_right { room } else { wanted.min(features) }
}

/// Some of the dead features of a shard, by their place among them.
struct DeadChunk<'a> {
    shard: &'a Shard,
    dead: Range<u32>,
}

/// Chunks of up to `count` dead features: each as long as all before it, so that few dead features take little and many
/// few dispatches.
fn cuts(count: u32, largest: u32) -> impl Iterator<Item = Range<u32>> {
    let next = move |first: u32| first..count.min(first + first.clamp(SMALLEST_CHUNK.min(largest), largest));
    std::iter::successors(Some(next(0)), move |range| (range.end < count).then(|| next(range.end)))
}

/// Buffers and kernels of AuxK.
pub struct Dead {
    list: DeadList,
    field: FieldSpec,
    /// The decoded list, and its gradient.
    pub sums: Field,
    /// The loss of each row is the first component: `[rows]` vec4.
    pub row_statistics: Buffer,
    /// The factor of the loss in addition to its weight.
    pub factor: Buffer,
    /// The number of dead features, `[1]`.
    pub found: Buffer,
    block_dead: Buffer,
    extents: Buffer,
    pre_activations: Buffer,
    /// Of the main field's error.
    variance: Variance,
    kernels: Kernels,
    chunk: u32,
}

struct Kernels {
    mark: Pipeline<mark::main::Kernel>,
    count: Pipeline<dead::count::Kernel>,
    scan: Pipeline<dead::scan::Kernel>,
    write: Pipeline<dead::write::Kernel>,
    extent: Pipeline<dead::extent::Kernel>,
    row_starts: Pipeline<dead::row_starts::Kernel>,
    rename: Pipeline<dead::rename::Kernel>,
    encode: Encode,
    select: Pipeline<select_wide::main::Kernel>,
    ratio: Pipeline<variance::ratio::Kernel>,
    residual: Pipeline<residual::main::Kernel>,
}

/// Operands of AuxK.
#[derive(Clone, Copy)]
pub struct DeadInputs<'a> {
    /// The SAE.
    pub parameters: &'a Parameters,
    /// The forward pass of the batch.
    pub forward: &'a Forward,
    /// The variance of the batch.
    pub variance: &'a Variance,
    /// The counters of the features, and the step's constants.
    pub optimizer: &'a Optimizer,
    /// The window of dead features.
    pub recipe: &'a Recipe,
    /// Dead features that can be worked on; with more the guard is raised.
    pub room: u32,
    /// How many times the largest chunk is halved: smaller ones cost little but for a few dispatches.
    pub halvings: u32,
}

impl Dead {
    /// Compiles the kernels, and makes the buffers; none if the description has no list of dead features.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if they do not fit, [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, encode: EncodeVariant) -> Result<Option<Self>> {
        let description = parameters.description();
        let Some(list) = description.dead() else { return Ok(None) };
        let Some(field) = description.fields.iter().find(|field| field.list == 1).cloned() else { return Ok(None) };
        let planes = parameters.planes().defines();
        let with = |define: (&'static str, u32)| [&planes[..], &[define]].concat();
        let by_batch = with(("WITH_THIS_BATCH", u32::from(list.counted == Counted::WithThisBatch)));
        let scaled = u32::from(description.key == KeyScale::DecoderNorm);
        let kernels = Kernels {
            mark: gpu.pipeline(&planes)?,
            count: gpu.pipeline(&by_batch)?,
            scan: gpu.pipeline(&by_batch)?,
            write: gpu.pipeline(&by_batch)?,
            extent: gpu.pipeline(&by_batch)?,
            row_starts: gpu.pipeline(&by_batch)?,
            rename: gpu.pipeline(&by_batch)?,
            encode: Encode::compacted(gpu, encode, &planes)?,
            select: gpu.pipeline(&[&planes[..], &[("SCALED", scaled), ("RAW", list.raw.into())]].concat())?,
            ratio: gpu.pipeline(&[("ERROR", 1)])?,
            residual: gpu.pipeline(&[("ERROR", 1), ("LAYER_NORM", 0)])?,
        };
        let limits = Limits { rows, group: 1, multiply_adds: max_multiply_adds(gpu.description()) };
        let chunk = Chunks::new(gpu, parameters, &limits).features().min(LARGEST_CHUNK);
        let smallest = chunk.min(SMALLEST_CHUNK);
        let chunks = parameters.shards.iter().flat_map(|shard| cuts(shard.count, smallest)).count();
        let gpu = &gpu.for_part("auxiliary loss");
        Ok(Some(Self {
            list,
            field,
            sums: Field::new(gpu, parameters, rows)?,
            row_statistics: gpu.buffer("row statistics", 4 * u64::from(rows))?,
            factor: gpu.buffer("factor", 1)?,
            found: gpu.buffer("dead features", 1)?,
            block_dead: gpu.buffer("dead before", u64::from(parameters.features().div_ceil(BLOCK_FEATURES)) + 1)?,
            extents: gpu.buffer("extents", UNIFORM_STRIDE / 4 * chunks as u64)?,
            pre_activations: gpu.buffer("pre-activations", u64::from(rows) * u64::from(chunk))?,
            variance: Variance::new(gpu, VarianceOf::Error, rows, parameters.quads())?,
            kernels,
            chunk,
        }))
    }

    /// Finds the dead features.
    pub fn record_find(&self, recording: &mut Recording, inputs: DeadInputs<'_>) {
        let Self { kernels, block_dead, found, factor, .. } = self;
        let DeadInputs { parameters, forward, .. } = inputs;
        let step = Slot::from(&inputs.optimizer.step);
        let (counts, starts, guard) = (&forward.entries.counts, &forward.entries.starts[1], &forward.guard);
        if self.list.counted == Counted::WithThisBatch {
            self.record_mark(recording, inputs);
        }
        let of_shard = |shard: &Shard| self.params(inputs, shard.first, shard.count);
        for shard in &parameters.shards {
            let (scalars, params) = (&shard.scalars, of_shard(shard));
            recording.run(&kernels.count, dead::count::Bindings { scalars, block_dead, step, params });
        }
        let params = self.params(inputs, 0, 0);
        recording.run(&kernels.scan, dead::scan::Bindings { block_dead, found, counts, factor, params, guard });
        for shard in &parameters.shards {
            let (scalars, params) = (&shard.scalars, of_shard(shard));
            recording.run(&kernels.write, dead::write::Bindings { scalars, block_dead, step, params });
        }
        recording.run(&kernels.row_starts, dead::row_starts::Bindings { block_dead, starts, params });
    }

    /// Lists those of each row with the largest keys.
    pub fn record_select(&self, recording: &mut Recording, inputs: DeadInputs<'_>) {
        let DeadInputs { parameters, forward, .. } = inputs;
        let largest = (self.chunk >> inputs.halvings).max(self.chunk.min(SMALLEST_CHUNK));
        let chunks = parameters
            .shards
            .iter()
            .flat_map(|shard| cuts(shard.count, largest).map(move |dead| DeadChunk { shard, dead }))
            .filter(|chunk| chunk.dead.start < inputs.room);
        for (slot, chunk) in (0..).zip(chunks) {
            self.record_chunk(recording, inputs, chunk, slot);
        }
        let entries = &forward.entries.list;
        for shard in parameters.shards.iter().rev() {
            let (scalars, block_dead) = (&shard.scalars, &self.block_dead);
            let params = self.params(inputs, shard.first, shard.count);
            recording.only_if(&self.found, |recording| {
                let bindings = dead::rename::Bindings { scalars, block_dead, entries, params };
                recording.run(&self.kernels.rename, bindings);
            });
        }
    }

    /// Decodes them.
    pub fn record_decode(&self, recording: &mut Recording, inputs: DeadInputs<'_>) {
        let DeadInputs { parameters, forward, .. } = inputs;
        let listed = Listed { entries: &forward.entries.list, starts: &forward.entries.starts[1] };
        let rows = forward.rows();
        recording.only_if(&self.found, |recording| {
            let level = Level { below: parameters.features(), nodes: &self.sums.nodes };
            forward.decoder.record(recording, parameters, listed, &[level], rows);
        });
    }

    /// The loss and its gradient.
    pub fn record_loss(&self, recording: &mut Recording, inputs: DeadInputs<'_>) {
        let DeadInputs { parameters, forward, .. } = inputs;
        let (rows, quads) = (forward.rows(), parameters.quads());
        let (x, b_dec, factor) = (&forward.x, &parameters.b_dec, &self.factor);
        let sums = &forward.field.sums;
        if self.field.factor == Factor::VarianceRatio {
            let Variance { distances, params, .. } = &self.variance;
            let (input_distances, params) = (&inputs.variance.distances, *params);
            recording.only_if(&self.found, |recording| {
                self.variance.record(recording, VarianceInputs { x, sums, b_dec });
                let bindings = variance::ratio::Bindings { distances, input_distances, factor, params };
                recording.run(&self.kernels.ratio, bindings);
            });
        }
        let scale = 2.0 * self.field.weight / f64::from(rows);
        let bindings = residual::main::Bindings {
            x,
            sums: &self.sums.sums,
            b_dec,
            other: sums,
            // No row has any: layer norm is not trained with dead features.
            row_norms: &inputs.forward.row_norms,
            gradient: &self.sums.gradient,
            rows: &self.row_statistics,
            guard: &forward.guard,
            factor: Slot::from(factor),
            params: residual::Params { rows, quads, d: parameters.config().d_in as u32, scale: scale as f32, one: 1.0 },
        };
        recording.only_if(&self.found, |recording| recording.run(&self.kernels.residual, bindings));
    }

    fn record_mark(&self, recording: &mut Recording, inputs: DeadInputs<'_>) {
        let entries = &inputs.forward.entries;
        let planes = inputs.parameters.planes();
        for Shard { first, count, scalars, .. } in &inputs.parameters.shards {
            // A step that is taken again must not see what it marked before.
            recording.clear_range(scalars, planes.bytes(Plane::Mark, *count));
            let params = mark::Params { capacity: entries.second, first: *first, count: *count };
            let (step, counts) = (Slot::from(&inputs.optimizer.step), Slot::from(&entries.counts));
            let entries = &entries.list;
            recording.run(&self.kernels.mark, mark::main::Bindings { entries, scalars, step, counts, params });
        }
    }

    fn record_chunk(
        &self,
        recording: &mut Recording,
        inputs: DeadInputs<'_>,
        DeadChunk { shard, dead: Range { start: first, end } }: DeadChunk<'_>,
        slot: u32,
    ) {
        let Self { kernels, block_dead, extents, pre_activations, chunk, .. } = self;
        let DeadInputs { parameters, forward, .. } = inputs;
        let params = dead::Params {
            chunk_first: first,
            chunk_width: end - first,
            slot,
            ..self.params(inputs, shard.first, shard.count)
        };
        recording.run(&kernels.extent, dead::extent::Bindings { block_dead, extents, params });
        let extent = Slot { buffer: extents, offset: UNIFORM_STRIDE * u64::from(slot) };
        let rows = forward.rows();
        recording.only_if(extent, |recording| {
            let bindings = encode_tiled::main::Bindings {
                centred: &forward.centred,
                w_enc: &shard.w_enc,
                scalars: &shard.scalars,
                pre_activations,
                params: encode_tiled::Params {
                    rows,
                    quads: parameters.quads(),
                    first,
                    width: end - first,
                    count: shard.count,
                    stride: *chunk,
                    ..Default::default()
                },
            };
            kernels.encode.record(recording, bindings);
            let bindings = select_wide::main::Bindings {
                pre_activations,
                scalars: &shard.scalars,
                entries: &forward.entries.list,
                extent,
                params: select_wide::Params {
                    rows,
                    stride: *chunk,
                    first,
                    count: shard.count,
                    list: 1,
                    base: forward.entries.second,
                },
            };
            recording.run(&kernels.select, bindings);
        });
    }

    fn params(&self, inputs: DeadInputs<'_>, first: u32, count: u32) -> dead::Params {
        let DeadInputs { parameters, forward, recipe, room, .. } = inputs;
        dead::Params {
            room,
            first,
            count,
            window: recipe.dead_window_steps(),
            blocks: parameters.features().div_ceil(BLOCK_FEATURES),
            rows: forward.rows(),
            most: self.list.most as u32,
            chunk_first: 0,
            chunk_width: 0,
            slot: 0,
            base: forward.entries.second,
            scale_by_share: u32::from(self.field.factor == Factor::ShareOfDead),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{cuts, room_for};

    #[test]
    fn room_for_dead_features_follows_their_number_and_seldom_changes() {
        let features = 1 << 20;
        let mut changes = 0;
        let mut room = room_for(0, 0, features);
        assert_eq!(room, 8192);
        // Up, and down again, a hundredth at a time.
        let up = (0..1200).map(|step| (100.0 * 1.01_f64.powi(step)).min(f64::from(features)) as u32);
        let up: Vec<u32> = up.collect();
        for dead in up.iter().chain(up.iter().rev()) {
            let next = room_for(*dead, room, features);
            assert!(next > *dead || next == features, "{dead} dead, room for {next}");
            changes += usize::from(next != room);
            room = next;
        }
        assert!((8..20).contains(&changes), "{changes}");
        assert!(room <= 32_768, "{room}");
        assert_eq!(room_for(5, features, features), 8192);
        assert_eq!([room_for(10, 8192, 300), room_for(u32::MAX, 8192, 9000)], [8192, 9000]);
    }

    #[test]
    fn chunks_of_dead_features_grow_and_miss_none() {
        let ends = |count, largest| cuts(count, largest).map(|range| range.end).collect::<Vec<_>>();
        assert_eq!(ends(20_000, 8192), [1024, 2048, 4096, 8192, 16_384, 20_000]);
        assert_eq!(ends(20, 16), [16, 20]);
        assert_eq!(ends(1024, 8192), [1024]);
        for (count, largest) in [(1, 8192), (70_000, 8192), (5000, 512)] {
            let mut end = 0;
            for range in cuts(count, largest) {
                assert!(range.start == end && range.len() as u32 <= largest && !range.is_empty());
                end = range.end;
            }
            assert_eq!(end, count);
        }
    }
}
