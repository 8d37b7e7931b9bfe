//! Pre-activations of a chunk of features: the one dense product of a step.

use std::fmt;

use crate::error::Result;
use crate::gpu::shaders::{encode_subgroup, encode_tiled};
use crate::gpu::{AdapterDescription, Buffer, Gpu, Pipeline, Recording};

/// The ways to encode; all give the same bits on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeVariant {
    /// `shaders/encode/tiled.wgsl`: tiles in workgroup memory, for GPUs.
    Tiled(TileShape),
    /// `shaders/encode/subgroup.wgsl`: a register tile a lane, for adapters in software.
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
    /// Whether two stages take turns, so that one is loaded while the other is multiplied.
    pub is_double: bool,
}

/// The usual shape first, which every adapter can run; then those likeliest to be faster.
const TILES: [TileShape; 8] = [
    TileShape::new(128, 128, 8, false),
    TileShape::new(128, 128, 8, true),
    TileShape::new(128, 128, 16, true),
    TileShape::new(128, 64, 8, true),
    TileShape::new(64, 64, 16, true),
    TileShape::new(128, 64, 16, true),
    TileShape::new(64, 64, 8, true),
    TileShape::new(128, 128, 16, false),
];

/// Rows of a register tile, the usual number first: the more, the fewer loads, and the larger the loop over d
/// (docs/architecture.md, in software).
const REGISTER_ROWS: [u32; 3] = [16, 32, 64];

/// Rows of x that follow each other under one tile of features: three quarters of a second cache of 1 MiB.
const ROW_BLOCK_BYTES: u64 = 768 << 10;

impl TileShape {
    const fn new(rows: u32, features: u32, depth: u32, is_double: bool) -> Self {
        Self { rows, features, depth, is_double }
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

    /// Those that this adapter can run, the usual one first.
    pub fn available(adapter: &AdapterDescription) -> Vec<Self> {
        let runs = |variant: &Self| match *variant {
            Self::Tiled(shape) => variant.is_usual() || shape.workgroup_bytes() <= adapter.workgroup_bytes,
            Self::Subgroup { lanes, .. } => adapter.is_software() && adapter.subgroup_size == Some(lanes),
        };
        Self::all().into_iter().filter(runs).collect()
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

    /// Features a group of [`GroupMaxima`], in any shape.
    pub fn group(self) -> u32 {
        match self {
            Self::Tiled(_) => encode_tiled::GROUP,
            Self::Subgroup { lanes, .. } => register_groups(lanes),
        }
    }

    /// The definitions of its shader.
    pub fn defines(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::Tiled(TileShape { rows, features, depth, is_double }) => vec![
                ("ROWS", rows),
                ("FEATURES", features),
                ("DEPTH", depth),
                ("DOUBLE", is_double.into()),
                ("X_LOADS", 16 * depth / features),
                ("W_LOADS", 16 * depth / rows),
            ],
            Self::Subgroup { lanes, rows } => {
                vec![("LANES", lanes), ("LANE_QUADS", lanes / 4), ("ROWS", rows), ("GROUPS", register_groups(lanes))]
            }
        }
    }

    /// Workgroups for so many rows, vectors of 4 a row, and features.
    fn workgroups(self, rows: u32, quads: u32, count: u32) -> [u32; 3] {
        match self {
            Self::Tiled(shape) => [count.div_ceil(shape.features), rows.div_ceil(shape.rows), 1],
            Self::Subgroup { lanes, rows: tile_rows } => {
                let row_tiles = rows.div_ceil(tile_rows);
                // All blocks of rows take as many tiles, because a tile past the end costs as much as any other.
                let bytes = u64::from(rows) * u64::from(quads) * 16;
                let blocks = (bytes.div_ceil(ROW_BLOCK_BYTES) as u32).clamp(1, row_tiles.max(1));
                let block_tiles = row_tiles.div_ceil(blocks);
                let feature_tiles = count.div_ceil(lanes * register_groups(lanes));
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
            Self::Tiled(TileShape { rows, features, depth, is_double }) => {
                write!(f, "tiled-{rows}x{features}x{depth}{}", if *is_double { "-double" } else { "" })
            }
            Self::Subgroup { lanes, rows } => write!(f, "subgroup-{lanes}x{rows}"),
        }
    }
}

/// What one dispatch of `encode` reads and writes; shapes as in the shaders.
pub struct EncodeArguments<'a> {
    /// `[rows, quads]` vec4.
    pub centred: &'a Buffer,
    /// The shard's `[features, quads]` vec4.
    pub w_enc: &'a Buffer,
    /// The shard's `[features]`.
    pub b_enc: &'a Buffer,
    /// `[rows, stride]`.
    pub pre_activations: &'a Buffer,
    /// Rows.
    pub rows: u32,
    /// Vectors of 4 a row.
    pub quads: u32,
    /// First feature of the chunk, counted in the shard.
    pub first: u32,
    /// Features in the chunk.
    pub count: u32,
    /// Row length of the pre-activations, a multiple of 4, at least `count`.
    pub stride: u32,
    /// Whether negative pre-activations become 0: for selections that never look below 0.
    pub relu: bool,
}

enum EncodeKernel {
    Tiled(Pipeline<encode_tiled::main::Kernel>),
    Subgroup(Pipeline<encode_subgroup::main::Kernel>),
}

/// The kernels of `shaders/encode/`.
pub struct Encode {
    kernel: EncodeKernel,
    variant: EncodeVariant,
}

impl Encode {
    /// Compiles one variant.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu, variant: EncodeVariant) -> Result<Self> {
        let kernel = match variant {
            EncodeVariant::Tiled(_) => EncodeKernel::Tiled(gpu.pipeline(&variant.defines())?),
            EncodeVariant::Subgroup { .. } => EncodeKernel::Subgroup(gpu.pipeline(&variant.defines())?),
        };
        Ok(Self { kernel, variant })
    }

    /// One chunk of one shard.
    pub fn record(&self, recording: &mut Recording, arguments: &EncodeArguments<'_>) {
        let &EncodeArguments { centred, w_enc, b_enc, pre_activations, rows, quads, first, count, stride, relu } =
            arguments;
        let (relu, groups) = (u32::from(relu), self.variant.workgroups(rows, quads, count));
        match &self.kernel {
            EncodeKernel::Tiled(main) => {
                let params = encode_tiled::Params { rows, quads, first, count, stride, relu, scaled: 0 };
                let bindings = encode_tiled::main::Bindings { centred, w_enc, b_enc, pre_activations, params };
                recording.dispatch(main, bindings, groups);
            }
            EncodeKernel::Subgroup(main) => {
                let params = encode_subgroup::Params {
                    rows,
                    quads,
                    first,
                    count,
                    stride,
                    relu,
                    scaled: 0,
                    row_tiles: groups[0],
                };
                let bindings = encode_subgroup::main::Bindings { centred, w_enc, b_enc, pre_activations, params };
                recording.dispatch(main, bindings, groups);
            }
        }
    }
}

/// What one dispatch of `group_maxima` reads and writes; shapes as in the shaders.
pub struct GroupMaximaArguments<'a> {
    /// `[rows, quads]` vec4.
    pub centred: &'a Buffer,
    /// The shard's `[features, quads]` vec4.
    pub w_enc: &'a Buffer,
    /// The shard's `[features]`.
    pub b_enc: &'a Buffer,
    /// The shard's `[features]`.
    pub norms: &'a Buffer,
    /// `[rows, stride]`.
    pub maxima: &'a Buffer,
    /// Rows.
    pub rows: u32,
    /// Vectors of 4 a row.
    pub quads: u32,
    /// First feature of the chunk, counted in the shard.
    pub first: u32,
    /// Features in the chunk.
    pub count: u32,
    /// Row length of the maxima.
    pub stride: u32,
    /// Whether keys are pre-activations times decoder norms.
    pub scaled: bool,
}

enum MaximaKernel {
    Tiled(Pipeline<encode_tiled::group_maxima::Kernel>),
    Subgroup(Pipeline<encode_subgroup::group_maxima::Kernel>),
}

/// The other kernels of `shaders/encode/`: they keep only the largest key of each group of features.
pub struct GroupMaxima {
    kernel: MaximaKernel,
    variant: EncodeVariant,
}

impl GroupMaxima {
    /// Compiles one variant.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu, variant: EncodeVariant) -> Result<Self> {
        let kernel = match variant {
            EncodeVariant::Tiled(_) => MaximaKernel::Tiled(gpu.pipeline(&variant.defines())?),
            EncodeVariant::Subgroup { .. } => MaximaKernel::Subgroup(gpu.pipeline(&variant.defines())?),
        };
        Ok(Self { kernel, variant })
    }

    /// Features a group.
    pub fn group(&self) -> u32 {
        self.variant.group()
    }

    /// One chunk of one shard, which begins with a group.
    pub fn record(&self, recording: &mut Recording, arguments: &GroupMaximaArguments<'_>) {
        let &GroupMaximaArguments { centred, w_enc, b_enc, norms, maxima, rows, quads, first, count, stride, scaled } =
            arguments;
        let (relu, scaled, groups) = (0, u32::from(scaled), self.variant.workgroups(rows, quads, count));
        match &self.kernel {
            MaximaKernel::Tiled(main) => {
                let params = encode_tiled::Params { rows, quads, first, count, stride, relu, scaled };
                let bindings = encode_tiled::group_maxima::Bindings { centred, w_enc, b_enc, norms, maxima, params };
                recording.dispatch(main, bindings, groups);
            }
            MaximaKernel::Subgroup(main) => {
                let params =
                    encode_subgroup::Params { rows, quads, first, count, stride, relu, scaled, row_tiles: groups[0] };
                let bindings = encode_subgroup::group_maxima::Bindings { centred, w_enc, b_enc, norms, maxima, params };
                recording.dispatch(main, bindings, groups);
            }
        }
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
                let [block_tiles, _, blocks] = variant.workgroups(rows, quads, 1024);
                let tiles = rows.div_ceil(rows_a_tile);
                assert!(
                    (tiles..tiles + blocks.max(1)).contains(&(block_tiles * blocks)),
                    "{rows} rows: {blocks} blocks"
                );
            }
        }
    }
}
