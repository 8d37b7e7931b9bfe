//! A list that a chunk of features is added to at a time: from one side to another, row by row.

use super::Inputs;
use super::chunks::Chunk;
use crate::engine::entries::Pass;
use crate::engine::entry;
use crate::engine::parameters::Parameters;
use crate::error::Result;
use crate::gpu::shaders::admit::{self, count, scan, write};
use crate::gpu::{Buffer, EntryPoint, Gpu, Pipeline, Recording, Slot};
use crate::sae::description::{EntryKind, KeyScale};

/// What decides over an entry.
#[derive(Clone, Copy)]
pub(super) enum Admission {
    /// The cut of its batch.
    Cut,
    /// Its own arithmetic.
    Entry(EntryKind),
}

pub(super) struct Growing {
    /// The side that is not [`Entries`](crate::engine::entries::Entries), and where rows begin in it.
    list: Buffer,
    starts: Buffer,
    row_counts: Buffer,
    constants: [f32; 4],
    count: Pipeline<count::Kernel>,
    scan: Pipeline<scan::Kernel>,
    write: Pipeline<write::Kernel>,
}

/// A side of the list.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub list: &'a Buffer,
    pub starts: &'a Buffer,
}

/// An addition to the list.
#[derive(Clone, Copy)]
pub(super) struct Addition<'a> {
    /// `[rows, stride]`.
    pub pre_activations: &'a Buffer,
    pub stride: u32,
    /// What they are of; none if nothing is added, and the list only cut.
    pub chunk: Option<Chunk<'a>>,
    pub cut: &'a Buffer,
}

impl Growing {
    /// Compiles the kernels, and makes the other side for `capacity` entries of `rows` rows.
    pub fn new(
        gpu: &Gpu,
        parameters: &Parameters,
        [rows, capacity]: [u32; 2],
        admission: Admission,
        pass: Pass,
    ) -> Result<Self> {
        let kernels = Kernels { gpu, parameters, admission, pass };
        Ok(Self {
            list: gpu.buffer("entries, the other side", 4 * u64::from(capacity))?,
            starts: gpu.buffer("starts of rows, the other side", u64::from(rows) + 1)?,
            row_counts: gpu.buffer("entries of rows", 4 * u64::from(rows))?,
            constants: match admission {
                Admission::Cut => [0.0; 4],
                Admission::Entry(kind) => entry::constants(kind, rows),
            },
            count: kernels.compile()?,
            scan: kernels.compile()?,
            write: kernels.compile()?,
        })
    }

    /// The side that holds the list while so many additions are to come: after the last, [`Inputs::entries`].
    pub fn side<'a>(&'a self, inputs: &Inputs<'a>, to_come: usize) -> Side<'a> {
        match to_come % 2 {
            0 => Side { list: &inputs.entries.list, starts: &inputs.entries.starts[0] },
            _ => Side { list: &self.list, starts: &self.starts },
        }
    }

    /// Empties the list, for so many additions.
    pub fn record_begin(&self, recording: &mut Recording, inputs: &Inputs<'_>, additions: usize) {
        recording.clear(&inputs.entries.counts);
        recording.clear(self.side(inputs, additions).starts);
    }

    /// Adds to the list; `to_come` additions follow.
    pub fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>, addition: Addition<'_>, to_come: usize) {
        let Addition { pre_activations, stride, chunk, cut } = addition;
        let Side { list: list_in, starts: starts_in } = self.side(inputs, to_come + 1);
        let Side { list: list_out, starts: starts_out } = self.side(inputs, to_come);
        let (entries, row_counts) = (inputs.entries, &self.row_counts);
        let (first, width) = chunk.map_or((0, 0), |chunk| (chunk.first, chunk.count));
        let shard = chunk.map_or(&inputs.parameters.shards[0], |chunk| chunk.shard);
        let [c0, c1, c2, c3] = self.constants;
        let params = admit::Params {
            rows: inputs.rows,
            first,
            width,
            stride,
            shard: shard.first,
            count: shard.count,
            capacity: entries.second,
            c0,
            c1,
            c2,
            c3,
        };
        let (scalars, cut, counts) = (&shard.scalars, Slot::from(cut), Slot::from(&entries.counts));
        let bindings = count::Bindings { pre_activations, scalars, list_in, starts_in, row_counts, cut, params };
        recording.run(&self.count, bindings);
        let (counted, guard) = (&entries.counts, inputs.guard);
        recording.run(&self.scan, scan::Bindings { row_counts, starts_out, counted, guard, cut, params });
        let bindings = write::Bindings {
            pre_activations,
            scalars,
            list_in,
            starts_in,
            row_counts,
            starts_out,
            list_out,
            counts,
            cut,
            params,
        };
        recording.run(&self.write, bindings);
    }
}

/// What the kernels are compiled with.
struct Kernels<'a> {
    gpu: &'a Gpu,
    parameters: &'a Parameters,
    admission: Admission,
    pass: Pass,
}

impl Kernels<'_> {
    fn compile<K: EntryPoint>(&self) -> Result<Pipeline<K>> {
        let &Self { gpu, parameters, admission, pass } = self;
        let planes = parameters.planes().defines();
        match admission {
            Admission::Cut => {
                let scaled = u32::from(parameters.description().key == KeyScale::DecoderNorm);
                gpu.pipeline(&[&planes[..], &[("BY_CUT", 1), ("SCALED", scaled)]].concat())
            }
            Admission::Entry(kind) => {
                let defines = [&planes[..], &entry::defines(kind, pass), &[("BY_CUT", 0), ("SCALED", 0)]].concat();
                gpu.pipeline_with_entry(entry::entry(kind), &defines)
            }
        }
    }
}
