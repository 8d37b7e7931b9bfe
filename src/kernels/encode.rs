//! Pre-activations of a chunk of features: the one dense product of a step.

use std::fmt;

use super::tile_order::TileOrder;
use crate::error::Result;
use crate::gpu::shaders::encode_subgroup;
use crate::gpu::shaders::encode_tiled::{self, FEATURES, Params, ROWS, STAGE, STAGE_QUADS, group_maxima, main};
use crate::gpu::{AdapterDescription, Gpu, Pipeline, Recording, Source};

/// The variants of `encode`; all give the same bits on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeVariant {
    /// `shaders/encode/tiled.wgsl`: tiles in workgroup memory, for GPUs.
    Tiled(Staging),
    /// `shaders/encode/subgroup.wgsl`: a register tile per lane, for adapters on the CPU.
    Subgroup {
        /// Invocations a subgroup: 4, 8 or 16.
        lanes: u32,
        /// Rows a tile.
        rows: u32,
    },
}

/// How `shaders/encode/tiled.wgsl` goes through the dimensions, a stage of them at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staging {
    /// In one buffer, and unrolled.
    Single,
    /// Two buffers take turns, so that one is loaded while the other is multiplied.
    Double,
    /// In one buffer, a dimension a pass: Intel's compiler has no registers for the sums of an unrolled stage
    /// (benches/compilers).
    Rolled,
}

/// Intel's number among PCI vendors.
const INTEL: u32 = 0x8086;

/// Rows of a register tile, the usual number first: the more, the fewer loads, and the larger the loop over d
/// (docs/performance.md).
const REGISTER_ROWS: [u32; 3] = [16, 32, 64];

/// Rows of x that follow each other under one tile of features: three quarters of a second cache of 1 MiB.
const ROW_BLOCK_BYTES: u64 = 768 << 10;

impl Staging {
    /// The usual one first.
    const ALL: [Self; 3] = [Self::Single, Self::Double, Self::Rolled];

    /// The usual one first of those for an adapter.
    fn of(adapter: &AdapterDescription) -> &'static [Self] {
        match (adapter.takes_cpu_kernels(), adapter.vendor) {
            // Nothing is taken there, but everything can be tested.
            (true, _) => &Self::ALL,
            (false, INTEL) => &[Self::Rolled, Self::Single],
            (false, _) => &[Self::Single, Self::Double],
        }
    }

    /// Workgroup memory of a variant, in bytes.
    pub fn workgroup_bytes(self) -> u32 {
        16 * STAGE * (1 + u32::from(self == Self::Double))
    }
}

impl EncodeVariant {
    /// Those that some adapter can run; of each shader the usual one first.
    pub fn all() -> Vec<Self> {
        let registers = |lanes| REGISTER_ROWS.map(|rows| Self::Subgroup { lanes, rows });
        [4, 8, 16].into_iter().flat_map(registers).chain(Staging::ALL.map(Self::Tiled)).collect()
    }

    /// Those that this adapter can run, the usual one there first.
    pub fn available(adapter: &AdapterDescription) -> Vec<Self> {
        let runs = |variant: &Self| match *variant {
            // What one stage takes every adapter has.
            Self::Tiled(staging) => staging != Staging::Double || staging.workgroup_bytes() <= adapter.workgroup_bytes,
            Self::Subgroup { lanes, .. } => adapter.takes_cpu_kernels() && adapter.subgroup_size == Some(lanes),
        };
        let registers = Self::all().into_iter().filter(|variant| matches!(variant, Self::Subgroup { .. }));
        registers.chain(Staging::of(adapter).iter().copied().map(Self::Tiled)).filter(runs).collect()
    }

    /// The one that is taken unless another was measured to be faster.
    pub fn best(adapter: &AdapterDescription) -> Self {
        Self::available(adapter)[0]
    }

    /// Whether some adapters take it unmeasured.
    pub fn is_usual(self) -> bool {
        match self {
            Self::Tiled(staging) => staging != Staging::Double,
            Self::Subgroup { rows, .. } => rows == REGISTER_ROWS[0],
        }
    }

    /// Features per group of [`GroupMaxima`].
    pub fn group(self) -> u32 {
        match self {
            Self::Tiled(_) => encode_tiled::GROUP,
            Self::Subgroup { lanes, .. } => register_groups(lanes),
        }
    }

    /// The definitions of its shader.
    pub fn defines(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::Tiled(staging) => {
                vec![("DOUBLE", (staging == Staging::Double).into()), ("ROLLED", (staging == Staging::Rolled).into())]
            }
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
            Self::Tiled(_) => order.row_tiles(params),
            Self::Subgroup { .. } => self.workgroups(params)[0],
        }
    }

    /// Workgroups of a dispatch.
    fn workgroups(self, &Params { rows, quads, width, .. }: &Params) -> [u32; 3] {
        match self {
            Self::Tiled(_) => [width.div_ceil(FEATURES), rows.div_ceil(ROWS), 1],
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
            Self::Tiled(staging) => {
                let suffix = match staging {
                    Staging::Single => "",
                    Staging::Double => "-double",
                    Staging::Rolled => "-rolled",
                };
                write!(f, "tiled-{ROWS}x{FEATURES}x{}{suffix}", 4 * STAGE_QUADS)
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
