//! Cuts of a selection: features into chunks whose keys fit a scratch buffer, rows into blocks whose candidates do.

use crate::engine::parameters::{Parameters, Shard};
use crate::error::Result;
use crate::gpu::{AdapterDescription, Buffer, Gpu};

/// The most bytes that a scratch buffer of a selection takes.
pub const SCRATCH_BYTES: u64 = 128 << 20;

/// Most features per chunk: the smallest tiles of `encode`, 32 features wide, then stay within one dimension of a
/// dispatch.
const MAX_CHUNK: u64 = 1 << 20;

/// Multiply-adds of one dispatch at most: some twentieth of a second at 5 TFLOP/s on a discrete GPU, at 1 on any other
/// device. Training halves chunks that are measured to take longer than 40 ms ([`Chunks::halved`]).
pub(in crate::engine) fn max_multiply_adds(adapter: &AdapterDescription) -> u64 {
    if adapter.kind == "discrete" { 1 << 37 } else { 1 << 35 }
}

/// The same for matrix units, which make four times as many.
pub(super) fn max_multiply_adds_of_matrix_units(adapter: &AdapterDescription) -> u64 {
    4 * max_multiply_adds(adapter)
}

/// Features that all tiles and groups divide, so that a chunk of many ends with a whole one.
const TILES: u64 = 1024;

/// Features, and rows, that all tiles for GPUs divide.
const TILE_FEATURES: u32 = 128;
const TILE_ROWS: u32 = 128;

/// Features that are worked on at a time, of one shard.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Chunks(u32);

/// Some features of a shard.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Chunk<'a> {
    pub shard: &'a Shard,
    /// First feature, counted in the shard.
    pub first: u32,
    /// Number of features.
    pub count: u32,
}

/// Conditions on the size of a chunk.
pub(in crate::engine) struct Limits {
    /// Rows that are worked on at a time.
    pub rows: u32,
    /// Features that leave one value.
    pub group: u32,
    /// Multiply-adds of a dispatch.
    pub multiply_adds: u64,
}

impl Chunks {
    /// As many features as fit a scratch buffer with one value per group, but no more than the largest shard has
    /// or a dispatch should do.
    pub fn new(gpu: &Gpu, parameters: &Parameters, limits: &Limits) -> Self {
        let rows = u64::from(limits.rows.max(1));
        let width = u64::from(parameters.quads()) * 4;
        let fitting = SCRATCH_BYTES.min(gpu.max_binding_bytes()) * u64::from(limits.group) / (4 * rows);
        Self::at_most(parameters, limits.group, fitting.min(limits.multiply_adds / (rows * width)))
    }

    pub fn at_most(parameters: &Parameters, group: u32, features: u64) -> Self {
        // What a chunk leaves comes in vectors of 4.
        let unit = u64::from(4 * group.max(4));
        let largest = parameters.shards.iter().map(|shard| shard.count).max().unwrap_or(1);
        let most = features.min(MAX_CHUNK).min(u64::from(largest).next_multiple_of(unit));
        let unit = if most >= TILES && most < largest.into() { TILES } else { unit };
        Self((most.max(unit) / unit * unit) as u32)
    }

    /// Chunks of as equal a size as whole tiles allow: a last one that is small leaves most of a GPU idle.
    pub fn balanced(self, parameters: &Parameters) -> Self {
        let largest = parameters.shards.iter().map(|shard| shard.count).max().unwrap_or(1);
        let most = self.0 / TILE_FEATURES * TILE_FEATURES;
        if most == 0 || largest <= self.0 {
            return self;
        }
        Self(largest.div_ceil(largest.div_ceil(most)).next_multiple_of(TILE_FEATURES))
    }

    /// Chunks of about half the size, so many times, but not of much fewer features than [`TILES`]. Buffers and their
    /// strides stay those of the whole.
    pub(super) fn halved(self, parameters: &Parameters, times: u32) -> Self {
        if times == 0 {
            return self;
        }
        let part = (self.0 >> times).max(1);
        Self(part.next_multiple_of(TILES as u32).min(self.0)).balanced(parameters)
    }

    /// Features of a whole chunk.
    pub fn features(self) -> u32 {
        self.0
    }

    /// Room for a value of each row and group.
    pub fn buffer(self, gpu: &Gpu, name: &str, rows: u32, group: u32) -> Result<Buffer> {
        gpu.buffer(name, u64::from(rows) * u64::from(self.0 / group))
    }

    /// All chunks, by ascending features.
    pub fn of(self, parameters: &Parameters) -> impl Iterator<Item = Chunk<'_>> {
        parameters.shards.iter().flat_map(move |shard| {
            let firsts = (0..shard.count).step_by(self.0 as usize);
            firsts.map(move |first| Chunk { shard, first, count: self.0.min(shard.count - first) })
        })
    }
}

/// Rows of a batch that are worked on at a time.
#[derive(Clone, Copy)]
pub(super) struct RowBlocks(u32);

/// Some rows of a batch.
#[derive(Clone, Copy)]
pub(in crate::engine) struct RowBlock {
    pub first: u32,
    pub count: u32,
}

impl RowBlocks {
    /// Blocks of equal size whose candidates, `candidates` per row, fit a scratch buffer.
    pub fn new(gpu: &Gpu, rows: u32, candidates: u32) -> Self {
        let fitting = SCRATCH_BYTES.min(gpu.max_binding_bytes()) / (4 * u64::from(candidates.max(1)));
        let fitting = fitting.clamp(1, u64::from(rows.max(1))) as u32;
        let equal = rows.div_ceil(rows.div_ceil(fitting).max(1)).next_multiple_of(TILE_ROWS);
        Self(equal.min(fitting))
    }

    /// Rows of the largest block.
    pub fn rows(self) -> u32 {
        self.0
    }

    /// The blocks of the first `rows` rows.
    pub fn of(self, rows: u32) -> impl Iterator<Item = RowBlock> {
        (0..rows).step_by(self.0 as usize).map(move |first| RowBlock { first, count: self.0.min(rows - first) })
    }

    /// The fewest rows of a block that are worth a dispatch: below them a method is not used.
    pub fn least(rows: u64) -> u64 {
        rows.min(TILE_ROWS.into())
    }
}
