//! The scratch memory of a selection, and its commands.

mod chunked;
mod grouped;
mod screened;

use chunked::ChunkScratch;
use grouped::GroupScratch;
use screened::ScreenScratch;

use crate::error::Result;
use crate::gpu::shaders::select;
use crate::gpu::{Buffer, Gpu, Recording};
use crate::kernels::{Codes, SCRATCH_BYTES, SCREEN_GROUP, Selection, SelectionKernels, SelectionMethod};
use crate::sae::{Parameters, Shard};

/// What a selection over at most so many rows holds.
pub(super) struct SelectionScratch {
    way: Way,
    /// The number of rows that screening did not prove exact, because of which the batch was selected by chunks.
    pub uncertain: Buffer,
}

#[allow(clippy::large_enum_variant, reason = "there is one a run")]
enum Way {
    Chunked(ChunkScratch),
    Grouped(GroupScratch),
    Screened(ScreenScratch),
}

/// What is selected from and to.
#[derive(Clone, Copy)]
pub(super) struct SelectionArguments<'a> {
    pub parameters: &'a Parameters,
    pub centred: &'a Buffer,
    pub codes: &'a Codes,
    pub rows: u32,
}

impl SelectionScratch {
    pub fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, method: SelectionMethod) -> Result<Self> {
        let k = parameters.config().k as u32;
        let way = match method {
            SelectionMethod::Chunked => Way::Chunked(ChunkScratch::new(gpu, parameters, rows)?),
            SelectionMethod::Grouped { group } => {
                let chunks = Chunks::new(gpu, parameters, rows, group, MAX_MULTIPLY_ADDS);
                let maxima = chunks.buffer(gpu, "maxima of groups", rows, group)?;
                Way::Grouped(GroupScratch::new(gpu, parameters, (rows, k), group, (chunks, maxima))?)
            }
            SelectionMethod::Screened { variant, groups } => {
                let multiply_adds = match variant.is_cooperative() && !gpu.description().is_software() {
                    true => MAX_MULTIPLY_ADDS_OF_MATRIX_UNITS,
                    false => MAX_MULTIPLY_ADDS,
                };
                Way::Screened(ScreenScratch::new(gpu, parameters, (rows, groups), multiply_adds)?)
            }
        };
        Ok(Self { way, uncertain: gpu.buffer("uncertain rows", 1)? })
    }

    /// The codes of the first rows: the k largest keys, rectified.
    pub fn record(&self, recording: &mut Recording, kernels: &Selection, arguments: SelectionArguments<'_>) {
        let select = &kernels.select;
        match (&kernels.way, &self.way) {
            (SelectionKernels::Chunked(encode), Way::Chunked(scratch)) => {
                scratch.record(recording, (encode, select), arguments);
            }
            (SelectionKernels::Grouped { maxima, rescore, .. }, Way::Grouped(scratch)) => {
                scratch.record_maxima(recording, (maxima, select), arguments);
                scratch.record_candidates(recording, (rescore, select), arguments);
                scratch.record_names(recording, rescore, arguments);
            }
            (SelectionKernels::Screened(screening), Way::Screened(scratch)) => {
                scratch.record(recording, (screening, select), arguments, &self.uncertain);
            }
            // The scratch is made for the method of the kernels.
            _ => {}
        }
    }
}

/// Features a chunk at most: the smallest tiles of `encode`, 32 features wide, then stay within one dimension of a dispatch.
const MAX_CHUNK: u64 = 1 << 20;

/// Multiply-adds of one dispatch at most: a twentieth of a second on a device that makes 1 TFLOP/s, or with matrix units 5.
const MAX_MULTIPLY_ADDS: u64 = 1 << 35;
const MAX_MULTIPLY_ADDS_OF_MATRIX_UNITS: u64 = 1 << 37;

/// Features that all tiles divide, so that a chunk of many ends with a whole one.
const TILES: u64 = 1024;

/// Features that are worked on at a time, of one shard.
#[derive(Clone, Copy)]
struct Chunks(u32);

impl Chunks {
    /// As many as leave, one value a group, what fits a scratch buffer, but no more than the largest shard has or a dispatch should do.
    fn new(gpu: &Gpu, parameters: &Parameters, rows: u32, group: u32, multiply_adds: u64) -> Self {
        let rows = u64::from(rows.max(1));
        let width = u64::from(parameters.quads()) * 4;
        let fitting = SCRATCH_BYTES.min(gpu.max_binding_bytes()) * u64::from(group) / (4 * rows);
        Self::at_most(parameters, group, fitting.min(multiply_adds / (rows * width)))
    }

    fn at_most(parameters: &Parameters, group: u32, features: u64) -> Self {
        // What a chunk leaves comes in vectors of 4.
        let unit = u64::from(4 * group.max(4));
        let largest = parameters.shards.iter().map(|shard| shard.count).max().unwrap_or(1);
        let most = features.min(MAX_CHUNK).min(u64::from(largest).next_multiple_of(unit));
        let unit = if most >= TILES && most < largest.into() { TILES } else { unit };
        Self((most.max(unit) / unit * unit) as u32)
    }

    /// Room for a value of each row and group.
    fn buffer(self, gpu: &Gpu, name: &str, rows: u32, group: u32) -> Result<Buffer> {
        gpu.buffer(name, u64::from(rows) * u64::from(self.0 / group))
    }

    /// The shard, the first feature in it, and how many.
    fn of(self, parameters: &Parameters) -> impl Iterator<Item = (&Shard, u32, u32)> {
        parameters.shards.iter().flat_map(move |shard| {
            let firsts = (0..shard.count).step_by(self.0 as usize);
            firsts.map(move |first| (shard, first, self.0.min(shard.count - first)))
        })
    }
}

fn select_bindings<'a>(
    pre_activations: &'a Buffer,
    norms: &'a Buffer,
    codes: &'a Codes,
    params: select::Params,
) -> select::main::Bindings<'a> {
    let Codes { features, values, keys, .. } = codes;
    select::main::Bindings { pre_activations, norms, features, values, keys, params }
}
