//! Upper bounds of the largest key of each group of features, from rows in f16.

use std::fmt;

use crate::error::Result;
use crate::gpu::shaders::{screen_cooperative, screen_portable};
use crate::gpu::{AdapterDescription, Buffer, Gpu, Pipeline, Recording};

/// How `screen` multiplies. Bounds differ in their last bits, what is selected by them does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenVariant {
    /// `shaders/screen/cooperative.wgsl`: on matrix units.
    Cooperative(ScreenBlock),
    /// `shaders/screen/portable.wgsl`: in f32, on anything, and for speed on nothing.
    Portable,
}

/// What a workgroup of the cooperative variant computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenBlock {
    /// Rows and columns of a tile.
    pub tile: u32,
    /// Invocations a subgroup.
    pub lanes: u32,
    /// Subgroups by rows and by features.
    pub subgroups: [u32; 2],
    /// Tiles of a subgroup by rows and by features.
    pub tiles: [u32; 2],
    /// Elements of a row that are staged at a time: a multiple of the tile that divides 32.
    pub depth: u32,
    /// Whether tiles are staged element by element, as Metal needs it, and not as vectors.
    pub scalar: bool,
}

/// Subgroups, tiles and depth of the blocks there are, the usual one first.
const SHAPES: [([u32; 2], [u32; 2], u32); 6] = [
    ([2, 2], [4, 4], 32),
    ([2, 2], [4, 4], 16),
    ([2, 4], [4, 2], 32),
    ([4, 2], [2, 4], 32),
    ([2, 2], [2, 4], 32),
    ([2, 2], [2, 2], 32),
];

impl ScreenVariant {
    /// Those that an adapter can run, the usual one first.
    pub fn available(adapter: &AdapterDescription) -> Vec<Self> {
        let scalar = adapter.backend == "metal";
        let blocks = adapter.matrix_tile.zip(adapter.subgroup_size).into_iter().flat_map(|(tile, lanes)| {
            SHAPES.map(|(subgroups, tiles, depth)| ScreenBlock { tile, lanes, subgroups, tiles, depth, scalar })
        });
        let fitting = blocks.filter(|block| block.workgroup_bytes() <= adapter.workgroup_bytes);
        fitting.map(Self::Cooperative).chain([Self::Portable]).collect()
    }

    /// Whether it runs on matrix units.
    pub fn is_cooperative(self) -> bool {
        matches!(self, Self::Cooperative(_))
    }
}

impl fmt::Display for ScreenVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cooperative(block) => {
                let ScreenBlock { tile, subgroups: [rows, columns], tiles: [tile_rows, tile_columns], depth, .. } =
                    block;
                write!(f, "cooperative-{tile}-{rows}x{columns}-{tile_rows}x{tile_columns}-{depth}")
            }
            Self::Portable => write!(f, "portable"),
        }
    }
}

impl ScreenBlock {
    /// The definitions of `shaders/screen/cooperative.wgsl`.
    pub fn defines(self) -> [(&'static str, u32); 11] {
        let Self { tile, lanes, subgroups: [rows, columns], tiles: [tile_rows, tile_columns], depth, scalar } = self;
        [
            ("TILE", tile),
            ("LANES", lanes),
            ("SUBGROUPS_M", rows),
            ("SUBGROUPS_N", columns),
            ("TILES_M", tile_rows),
            ("TILES_N", tile_columns),
            ("DEPTH", depth),
            ("DEPTH_TILES", depth / tile),
            ("X_LOADS", self.rows() * depth / 4 / self.threads()),
            ("W_LOADS", self.features() * depth / 4 / self.threads()),
            ("SCALAR", scalar.into()),
        ]
    }

    /// The workgroup memory that it takes, in bytes.
    pub fn workgroup_bytes(self) -> u32 {
        let staged = (self.rows() + self.features()) * (self.depth / 4 + 2) * 8;
        let products = self.subgroups[0] * self.subgroups[1] * self.tile * (self.tile * self.tiles[1] + 4) * 4;
        staged + products + self.features() * 16
    }

    fn rows(self) -> u32 {
        self.tile * self.subgroups[0] * self.tiles[0]
    }

    fn features(self) -> u32 {
        self.tile * self.subgroups[1] * self.tiles[1]
    }

    fn threads(self) -> u32 {
        self.lanes * self.subgroups[0] * self.subgroups[1]
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
    Cooperative(Pipeline<screen_cooperative::main::Kernel>, ScreenBlock),
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
        Ok(Self(match variant {
            ScreenVariant::Cooperative(block) => Variant::Cooperative(gpu.pipeline(&block.defines())?, block),
            ScreenVariant::Portable => Variant::Portable(gpu.pipeline(&[])?),
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
                recording.dispatch(main, bindings, [rows.div_ceil(block.rows()), count.div_ceil(block.features()), 1]);
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
                recording.dispatch(main, bindings, [rows.div_ceil(8), count.div_ceil(64), 1]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_of_a_block_stages_as_much() {
        for (tile, lanes) in [(16, 32), (16, 64), (8, 8), (8, 32)] {
            for (subgroups, tiles, depth) in SHAPES {
                let block = ScreenBlock { tile, lanes, subgroups, tiles, depth, scalar: false };
                for lines in [block.rows(), block.features()] {
                    assert_eq!(lines * depth / 4 % block.threads(), 0, "{block:?}");
                }
                assert_eq!((MAX_DEPTH % depth, depth % tile, block.features() % SCREEN_GROUP), (0, 0, 0), "{block:?}");
            }
        }
    }
}
