//! Pre-activations of a chunk of features: the one dense product of a step.

use std::fmt;

use super::tile_order::TileOrder;
use crate::error::Result;
use crate::gpu::shaders::encode_subgroup;
use crate::gpu::shaders::encode_tiled::{self, Params, group_maxima, main};
use crate::gpu::{AdapterDescription, Gpu, Pipeline, Recording, Source};

/// The variants of `encode`; all give the same bits on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeVariant {
    /// `shaders/encode/tiled.wgsl`: tiles in workgroup memory, for GPUs.
    Tiled(TileShape),
    /// `shaders/encode/subgroup.wgsl`: a register tile per lane, for adapters on the CPU.
    Subgroup {
        /// Invocations a subgroup: 4, 8 or 16.
        lanes: u32,
        /// Rows a tile.
        rows: u32,
    },
}

/// A shape of `shaders/encode/tiled.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileShape {
    /// Rows a tile.
    pub rows: u32,
    /// Features a tile.
    pub features: u32,
    /// Dimensions a stage.
    pub depth: u32,
    /// Two stages take turns, so that one is loaded while the other is multiplied.
    pub is_double: bool,
    /// A thread has 8 rows by 4 features, and not by 8.
    pub is_narrow: bool,
}

/// The usual shape first, which every adapter can run; then those likeliest to be faster.
const TILES: [TileShape; 9] = [
    TileShape::new(128, 128, 8, false),
    TileShape::new(128, 128, 8, true),
    TileShape::new(128, 128, 16, true),
    TileShape::new(128, 64, 8, true),
    TileShape::new(64, 64, 16, true),
    TileShape::new(128, 64, 16, true),
    TileShape::new(64, 64, 8, true),
    TileShape::new(128, 128, 16, false),
    NARROW,
];

/// The usual shape on Intel's GPUs, whose compiler has no registers for 64 sums a thread (benches/compilers).
const NARROW: TileShape = TileShape { is_narrow: true, ..TileShape::new(128, 64, 16, false) };

/// Intel's number among PCI vendors.
const INTEL: u32 = 0x8086;

/// Rows of a register tile, the usual number first: the more, the fewer loads, and the larger the loop over d
/// (docs/performance.md).
const REGISTER_ROWS: [u32; 3] = [16, 32, 64];

/// Rows of x that follow each other under one tile of features: three quarters of a second cache of 1 MiB.
const ROW_BLOCK_BYTES: u64 = 768 << 10;

impl TileShape {
    const fn new(rows: u32, features: u32, depth: u32, is_double: bool) -> Self {
        Self { rows, features, depth, is_double, is_narrow: false }
    }

    /// Parts of a tile's features, of each of which a thread has four.
    fn halves(self) -> u32 {
        if self.is_narrow { 1 } else { 2 }
    }

    /// Threads a workgroup.
    pub fn threads(self) -> u32 {
        self.rows * self.features / (32 * self.halves())
    }

    /// Workgroup memory: stages of x and W_enc, each with a gap of two vectors of 4 for every 16 bytes of depth.
    pub fn workgroup_bytes(self) -> u32 {
        let stage = (self.rows + self.features) / 4 * self.depth + 16;
        16 * stage * (1 + u32::from(self.is_double))
    }
}

impl EncodeVariant {
    /// Those that some adapter can run; of each shader the usual shape first.
    pub fn all() -> Vec<Self> {
        let registers = |lanes| REGISTER_ROWS.map(|rows| Self::Subgroup { lanes, rows });
        [4, 8, 16].into_iter().flat_map(registers).chain(TILES.map(Self::Tiled)).collect()
    }

    /// Those that this adapter can run, the usual one there first.
    pub fn available(adapter: &AdapterDescription) -> Vec<Self> {
        let runs = |variant: &Self| match *variant {
            Self::Tiled(shape) => variant.is_usual() || shape.workgroup_bytes() <= adapter.workgroup_bytes,
            Self::Subgroup { lanes, .. } => adapter.is_software() && adapter.subgroup_size == Some(lanes),
        };
        let mut available: Vec<_> = Self::all().into_iter().filter(runs).collect();
        if adapter.vendor == INTEL && !adapter.is_software() {
            available.sort_by_key(|variant| *variant != Self::Tiled(NARROW));
        }
        available
    }

    /// The one that is taken unless another was measured to be faster.
    pub fn best(adapter: &AdapterDescription) -> Self {
        Self::available(adapter)[0]
    }

    /// Whether it is the usual shape of its shader.
    pub fn is_usual(self) -> bool {
        match self {
            Self::Tiled(shape) => shape == TILES[0],
            Self::Subgroup { rows, .. } => rows == REGISTER_ROWS[0],
        }
    }

    /// Features per group of [`GroupMaxima`], in any shape.
    pub fn group(self) -> u32 {
        match self {
            Self::Tiled(_) => encode_tiled::GROUP,
            Self::Subgroup { lanes, .. } => register_groups(lanes),
        }
    }

    /// The definitions of its shader.
    pub fn defines(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::Tiled(shape @ TileShape { rows, features, depth, is_double, .. }) => vec![
                ("ROWS", rows),
                ("FEATURES", features),
                ("HALVES", shape.halves()),
                ("DEPTH", depth),
                ("DOUBLE", is_double.into()),
                ("LOADS", ((rows + features) * depth / 16).div_ceil(shape.threads())),
            ],
            Self::Subgroup { lanes, rows } => {
                vec![("LANES", lanes), ("LANE_QUADS", lanes / 4), ("ROWS", rows), ("GROUPS", register_groups(lanes))]
            }
        }
    }

    /// Its shader. Both have the entry points, bindings and parameters of `shaders/shared/encode.wgsl`.
    fn source(self) -> Source {
        match self {
            Self::Tiled(_) => encode_tiled::SOURCE,
            Self::Subgroup { .. } => encode_subgroup::SOURCE,
        }
    }

    /// Tiles of rows that a dispatch goes through at a time.
    fn row_tiles(self, params: &Params, order: TileOrder) -> u32 {
        match self {
            Self::Tiled(shape) => order.row_tiles(shape, params),
            Self::Subgroup { .. } => self.workgroups(params)[0],
        }
    }

    /// Workgroups of a dispatch.
    fn workgroups(self, &Params { rows, quads, width, .. }: &Params) -> [u32; 3] {
        match self {
            Self::Tiled(shape) => [width.div_ceil(shape.features), rows.div_ceil(shape.rows), 1],
            Self::Subgroup { lanes, rows: tile_rows } => {
                let row_tiles = rows.div_ceil(tile_rows);
                // All blocks of rows take as many tiles, because a tile past the end costs as much as any other.
                let bytes = u64::from(rows) * u64::from(quads) * 16;
                let blocks = (bytes.div_ceil(ROW_BLOCK_BYTES) as u32).clamp(1, row_tiles.max(1));
                let block_tiles = row_tiles.div_ceil(blocks);
                let feature_tiles = width.div_ceil(lanes * register_groups(lanes));
                [block_tiles, feature_tiles, row_tiles.div_ceil(block_tiles.max(1))]
            }
        }
    }
}

/// Features of a lane's register tile.
const fn register_groups(lanes: u32) -> u32 {
    match lanes {
        16 => 4,
        _ => 8,
    }
}

impl fmt::Display for EncodeVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tiled(TileShape { rows, features, depth, is_double, is_narrow }) => {
                let (registers, stages) =
                    (if *is_narrow { "-8x4" } else { "" }, if *is_double { "-double" } else { "" });
                write!(f, "tiled-{rows}x{features}x{depth}{registers}{stages}")
            }
            Self::Subgroup { lanes, rows } => write!(f, "subgroup-{lanes}x{rows}"),
        }
    }
}

/// The kernels `main` of `shaders/encode/`.
#[derive(Clone)]
pub struct Encode {
    pipeline: Pipeline<main::Kernel>,
    variant: EncodeVariant,
    order: TileOrder,
}

impl Encode {
    /// Compiles one variant.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu, variant: EncodeVariant) -> Result<Self> {
        Ok(Self {
            pipeline: gpu.pipeline_of(variant.source(), &variant.defines())?,
            variant,
            order: TileOrder::default(),
        })
    }

    /// As [`Encode::new`], for chunks of dead features under these numbers of planes.
    ///
    /// # Errors
    /// As [`Encode::new`].
    pub fn compacted(gpu: &Gpu, variant: EncodeVariant, planes: &[(&'static str, u32)]) -> Result<Self> {
        let defines = [&variant.defines()[..], planes, &[("COMPACT", 1)]].concat();
        Ok(Self { pipeline: gpu.pipeline_of(variant.source(), &defines)?, variant, order: TileOrder::default() })
    }

    /// The same kernel, for tiles in blocks of so many tiles of rows.
    #[doc(hidden)]
    #[must_use]
    pub fn in_blocks_of(self, row_tiles: u32) -> Self {
        Self { order: TileOrder::BlocksOf(row_tiles), ..self }
    }

    /// The pre-activations of one chunk of one shard; `row_tiles` is set here.
    pub fn record(&self, recording: &mut Recording, mut bindings: main::Bindings<'_>) {
        let groups = self.variant.workgroups(&bindings.params);
        bindings.params.row_tiles = self.variant.row_tiles(&bindings.params, self.order);
        recording.dispatch(&self.pipeline, bindings, groups);
    }
}

/// The kernels `group_maxima` of `shaders/encode/`: they keep only the largest key of each group of features.
pub struct GroupMaxima {
    pipeline: Pipeline<group_maxima::Kernel>,
    variant: EncodeVariant,
    order: TileOrder,
}

impl GroupMaxima {
    /// Compiles one variant.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu, variant: EncodeVariant) -> Result<Self> {
        Ok(Self {
            pipeline: gpu.pipeline_of(variant.source(), &variant.defines())?,
            variant,
            order: TileOrder::default(),
        })
    }

    /// Features in a group.
    pub fn group(&self) -> u32 {
        self.variant.group()
    }

    /// The maxima of one chunk of one shard, which begins with a group; `row_tiles` is set here.
    pub fn record(&self, recording: &mut Recording, mut bindings: group_maxima::Bindings<'_>) {
        let groups = self.variant.workgroups(&bindings.params);
        bindings.params.row_tiles = self.variant.row_tiles(&bindings.params, self.order);
        recording.dispatch(&self.pipeline, bindings, groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tiles_lie_past_the_end_of_a_batch() {
        for rows_a_tile in REGISTER_ROWS {
            let variant = EncodeVariant::Subgroup { lanes: 8, rows: rows_a_tile };
            for (rows, quads) in [(0, 96), (1, 4), (65, 96), (1100, 96), (2048, 96), (4096, 2048), (5000, 4096)] {
                let [block_tiles, _, blocks] =
                    variant.workgroups(&Params { rows, quads, width: 1024, ..Params::default() });
                let tiles = rows.div_ceil(rows_a_tile);
                assert!(
                    (tiles..tiles + blocks.max(1)).contains(&(block_tiles * blocks)),
                    "{rows} rows: {blocks} blocks"
                );
            }
        }
    }
}
