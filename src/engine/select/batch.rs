//! A chunk of features at a time, merged into the largest keys of the whole batch so far.

use super::chunks::{Chunk, RowBlock};
use super::encoded::Encoded;
use super::growing::{Addition, Admission, Growing};
use super::{Inputs, SelectionMethod, Selector};
use crate::engine::entries::Pass;
use crate::engine::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::Cut;
use crate::gpu::shaders::batch::{self, BINS, THREADS, begin, find_least, histogram, raise};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot};
use crate::kernels::EncodeVariant;
use crate::sae::description::KeyScale;

/// Levels of bins.
const LEVELS: u32 = 3;

/// Keys of a thread, if there are that many, so that emptying the bins of its workgroup is little work.
const KEYS_PER_THREAD: u64 = 16;

pub(super) struct Batch {
    encoded: Encoded,
    growing: Growing,
    bins: Buffer,
    cut: Buffer,
    least: Buffer,
    begin: Pipeline<begin::Kernel>,
    histogram: Pipeline<histogram::Kernel>,
    raise: Pipeline<raise::Kernel>,
    find_least: Pipeline<find_least::Kernel>,
    /// Workgroups of a histogram, at most.
    most_groups: u32,
    /// Always 0.
    uncertain: Buffer,
}

impl Batch {
    /// Compiles the kernels and makes the scratch for `rows` rows and `capacity` entries.
    pub fn new(
        gpu: &Gpu,
        parameters: &Parameters,
        [rows, capacity]: [u32; 2],
        variant: EncodeVariant,
        pass: Pass,
    ) -> Result<Self> {
        let scaled = u32::from(parameters.description().key == KeyScale::DecoderNorm);
        let defines = [&parameters.planes().defines()[..], &[("SCALED", scaled)]].concat();
        let cores = || std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32);
        Ok(Self {
            encoded: Encoded::new(gpu, parameters, rows, variant)?,
            growing: Growing::new(gpu, parameters, [rows, capacity], Admission::Cut, pass)?,
            bins: gpu.buffer("bins of keys", BINS.into())?,
            cut: gpu.buffer("cut", size_of::<Cut>() as u64 / 4)?,
            least: gpu.buffer("least key", 1)?,
            begin: gpu.pipeline(&defines)?,
            histogram: gpu.pipeline(&defines)?,
            raise: gpu.pipeline(&defines)?,
            find_least: gpu.pipeline(&defines)?,
            most_groups: if gpu.description().takes_cpu_kernels() { 4 * cores() } else { 1024 },
            uncertain: gpu.buffer("uncertain rows", 1)?,
        })
    }

    /// Raises the floor to what a chunk and the list leave of it, so that no more than `room` are kept.
    fn record_cut(
        &self,
        recording: &mut Recording,
        inputs: &Inputs<'_>,
        chunk: Option<Chunk<'_>>,
        list: &Buffer,
        room: u32,
    ) {
        let shard = chunk.map_or(&inputs.parameters.shards[0], |chunk| chunk.shard);
        let (first, width) = chunk.map_or((0, 0), |chunk| (chunk.first, chunk.count));
        let keys = (u64::from(inputs.rows) * u64::from(width)).max(wanted(inputs).into());
        let params = batch::Params {
            rows: inputs.rows,
            first,
            width,
            stride: self.encoded.stride(),
            count: shard.count,
            room,
            ..self.params(inputs, keys)
        };
        let (counts, cut_so_far) = (Slot::from(&inputs.entries.counts), Slot::from(&self.cut));
        let (bins, cut) = (&self.bins, &self.cut);
        for level in 0..LEVELS {
            let params = batch::Params { level, ..params };
            let bindings = histogram::Bindings {
                pre_activations: &self.encoded.pre_activations,
                scalars: &shard.scalars,
                list,
                bins,
                cut_so_far,
                counts,
                params,
            };
            recording.run(&self.histogram, bindings);
            recording.run(&self.raise, raise::Bindings { bins, cut, params });
        }
    }

    /// For a dispatch over so many keys.
    fn params(&self, inputs: &Inputs<'_>, keys: u64) -> batch::Params {
        let groups = keys.div_ceil(KEYS_PER_THREAD * u64::from(THREADS)).clamp(1, self.most_groups.into());
        batch::Params { threads: groups as u32 * THREADS, wanted: wanted(inputs), ..Default::default() }
    }
}

/// Keys that are kept.
fn wanted(inputs: &Inputs<'_>) -> u32 {
    inputs.k * inputs.rows
}

impl Selector for Batch {
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        let Self { encoded, growing, cut, least, .. } = self;
        let block = RowBlock { first: 0, count: inputs.rows };
        let params = self.params(inputs, wanted(inputs).into());
        recording.run(&self.begin, begin::Bindings { cut, least, params });
        let chunks: Vec<_> = inputs.chunks(encoded.chunks).collect();
        growing.record_begin(recording, inputs, chunks.len() + 1);
        // After all chunks the list alone, exactly.
        let additions = chunks.into_iter().map(|chunk| (Some(chunk), inputs.entries.second)).chain([(None, 0)]);
        let additions: Vec<_> = additions.collect();
        for (to_come, (chunk, room)) in (0..additions.len()).rev().zip(additions) {
            if let Some(chunk) = chunk {
                encoded.record(recording, inputs, block, chunk);
            }
            self.record_cut(recording, inputs, chunk, growing.side(inputs, to_come + 1).list, room);
            let (pre_activations, stride) = (&encoded.pre_activations, encoded.stride());
            growing.record(recording, inputs, Addition { pre_activations, stride, chunk, cut }, to_come);
        }
        let (list, counts) = (&inputs.entries.list, Slot::from(&inputs.entries.counts));
        recording.run(&self.find_least, find_least::Bindings { list, least, counts, params });
    }

    fn method(&self) -> SelectionMethod {
        SelectionMethod::Chunked
    }

    fn uncertain(&self) -> &Buffer {
        &self.uncertain
    }

    fn least_kept(&self) -> Option<&Buffer> {
        Some(&self.least)
    }
}
