//! Upper bounds of the largest key of each group of features, from rows in f16.

use std::fmt;

use crate::error::Result;
use crate::gpu::shaders::{screen_cooperative, screen_portable};
use crate::gpu::{AdapterDescription, Buffer, Gpu, Pipeline, Recording};

/// How `screen` multiplies. Bounds differ in their last bits, what is selected by them does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenVariant {
    /// `shaders/screen/cooperative.wgsl`: on matrix units of square tiles.
    Cooperative {
        /// Rows and columns of a tile.
        tile: u32,
        /// Invocations a subgroup.
        lanes: u32,
        /// Whether tiles are staged element by element, as Metal needs it, and not as vectors.
        scalar: bool,
    },
    /// `shaders/screen/portable.wgsl`: in f32, on anything, and for speed on nothing.
    Portable,
}

impl ScreenVariant {
    /// Those that an adapter can run, the fastest first.
    pub fn available(adapter: &AdapterDescription) -> Vec<Self> {
        let cooperative = adapter.matrix_tile.zip(adapter.subgroup_size).map(|(tile, lanes)| Self::Cooperative {
            tile,
            lanes,
            scalar: adapter.backend == "metal",
        });
        let fits = |variant: &Self| variant.workgroup_bytes() <= adapter.workgroup_bytes;
        cooperative.filter(fits).into_iter().chain([Self::Portable]).collect()
    }

    /// The workgroup memory that it takes, in bytes.
    pub fn workgroup_bytes(self) -> u32 {
        self.block().map_or(0, Block::workgroup_bytes)
    }

    /// Whether it runs on matrix units.
    pub fn is_cooperative(self) -> bool {
        matches!(self, Self::Cooperative { .. })
    }

    /// The definitions of `shaders/screen/cooperative.wgsl`, none for the other variant.
    pub fn defines(self) -> Vec<(&'static str, u32)> {
        let (Some(block), Self::Cooperative { scalar, .. }) = (self.block(), self) else { return Vec::new() };
        let Block { tile, lanes, subgroups: [rows, columns], tiles: [tile_rows, tile_columns], depth } = block;
        vec![
            ("TILE", tile),
            ("LANES", lanes),
            ("SUBGROUPS_M", rows),
            ("SUBGROUPS_N", columns),
            ("TILES_M", tile_rows),
            ("TILES_N", tile_columns),
            ("DEPTH", depth),
            ("DEPTH_TILES", depth / tile),
            ("X_LOADS", block.rows() * depth / 4 / block.threads()),
            ("W_LOADS", block.features() * depth / 4 / block.threads()),
            ("SCALAR", scalar.into()),
        ]
    }

    fn block(self) -> Option<Block> {
        match self {
            Self::Portable => None,
            Self::Cooperative { tile: 16, lanes, .. } => {
                Some(Block { tile: 16, lanes, subgroups: [2, 2], tiles: [4, 4], depth: MAX_DEPTH })
            }
            Self::Cooperative { tile, lanes, .. } => {
                Some(Block { tile, lanes, subgroups: [2, 2], tiles: [2, 4], depth: MAX_DEPTH })
            }
        }
    }
}

impl fmt::Display for ScreenVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cooperative { tile, .. } => write!(f, "cooperative-{tile}"),
            Self::Portable => write!(f, "portable"),
        }
    }
}

/// What a workgroup of the cooperative variant computes.
#[derive(Clone, Copy, Debug)]
struct Block {
    tile: u32,
    lanes: u32,
    subgroups: [u32; 2],
    /// Of a subgroup.
    tiles: [u32; 2],
    /// Elements of a row that are staged at a time.
    depth: u32,
}

impl Block {
    fn rows(self) -> u32 {
        self.tile * self.subgroups[0] * self.tiles[0]
    }

    fn features(self) -> u32 {
        self.tile * self.subgroups[1] * self.tiles[1]
    }

    fn threads(self) -> u32 {
        self.lanes * self.subgroups[0] * self.subgroups[1]
    }

    /// The workgroup arrays of the shader.
    fn workgroup_bytes(self) -> u32 {
        let staged = (self.rows() + self.features()) * (self.depth / 4 + 2) * 8;
        let products = self.subgroups[0] * self.subgroups[1] * self.tile * (self.tile * self.tiles[1] + 4) * 4;
        staged + products + self.features() * 16
    }
}

/// Rows of halves are padded to a multiple of this.
const MAX_DEPTH: u32 = 32;

/// Vectors of 4 that a row of halves takes whose source has so many.
pub fn half_quads(quads: u32) -> u32 {
    quads.next_multiple_of(MAX_DEPTH / 4)
}

/// Features a group of maxima, in every variant.
pub const SCREEN_GROUP: u32 = screen_portable::GROUP;

/// What one dispatch of `screen` reads and writes; shapes as in the shaders.
pub struct ScreenArguments<'a> {
    /// `[rows, quads]`, as `halve` leaves them.
    pub x_halves: &'a Buffer,
    /// `[rows]`.
    pub x_bounds: &'a Buffer,
    /// `[count, quads]`: the chunk's.
    pub w_halves: &'a Buffer,
    /// `[count]`.
    pub w_bounds: &'a Buffer,
    /// The shard's `[features]`.
    pub b_enc: &'a Buffer,
    /// The shard's `[features]`.
    pub norms: &'a Buffer,
    /// `[rows, stride]`.
    pub maxima: &'a Buffer,
    /// Rows.
    pub rows: u32,
    /// Vectors of 4 a row of the source.
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

enum Variant {
    Cooperative(Pipeline<screen_cooperative::main::Kernel>, Block),
    Portable(Pipeline<screen_portable::main::Kernel>),
}

/// The kernels of `shaders/screen/`.
pub struct Screen(Variant);

impl Screen {
    /// Compiles one variant.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu, variant: ScreenVariant) -> Result<Self> {
        Ok(Self(match variant.block() {
            Some(block) => Variant::Cooperative(gpu.pipeline(&variant.defines())?, block),
            None => Variant::Portable(gpu.pipeline(&[])?),
        }))
    }

    /// One chunk of one shard, which begins with a group.
    pub fn record(&self, recording: &mut Recording, arguments: &ScreenArguments<'_>) {
        let &ScreenArguments { x_halves, x_bounds, w_halves, w_bounds, b_enc, norms, maxima, .. } = arguments;
        let &ScreenArguments { rows, quads, first, count, stride, .. } = arguments;
        let (line, scaled, margin) = (half_quads(quads), u32::from(arguments.scaled), margin(quads));
        match &self.0 {
            Variant::Cooperative(main, block) => {
                let params = screen_cooperative::Params { rows, line, first, count, stride, scaled, margin };
                let bindings = screen_cooperative::main::Bindings {
                    x_halves,
                    w_halves,
                    x_bounds,
                    w_bounds,
                    b_enc,
                    norms,
                    maxima,
                    params,
                };
                recording.dispatch(main, bindings, [count.div_ceil(block.features()), rows.div_ceil(block.rows()), 1]);
            }
            Variant::Portable(main) => {
                let params = screen_portable::Params { rows, line, first, count, stride, scaled, margin };
                let bindings = screen_portable::main::Bindings {
                    x_halves,
                    w_halves,
                    x_bounds,
                    w_bounds,
                    b_enc,
                    norms,
                    maxima,
                    params,
                };
                recording.dispatch(main, bindings, [count.div_ceil(64), rows.div_ceil(8), 1]);
            }
        }
    }
}

/// How far the sum in f16 may be from the key in f32 besides what rounding its inputs loses, as a fraction of |x| |w| + |b|
/// (docs/architecture.md, screening).
pub fn margin(quads: u32) -> f32 {
    // Three quarters of 2^-22 a term for the matrix units' sum, a quarter for the f32 fold that it is compared with; then bias, key
    // scale and the bound itself. Up, whatever f32 makes of it.
    ((f64::from(4 * quads) + 8.0) * (-22_f64).exp2() * (1.0 + 1e-6)) as f32
}
