//! Upper bounds of the largest key of each group of features, from rows in f16.

use std::fmt;

use crate::error::{Error, Result};
use crate::gpu::shaders::screen_cooperative::{self, subgroups};
use crate::gpu::shaders::screen_portable::{self, Params, main};
use crate::gpu::{AdapterDescription, Gpu, Pipeline, Recording, grid};

/// The variants of `screen`. Bounds differ in their last bits, what is selected by them does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenVariant {
    /// `shaders/screen/cooperative.wgsl`: on matrix units.
    Cooperative(ScreenBlock),
    /// `shaders/screen/portable.wgsl`: in f32, on anything, and for speed on nothing.
    Portable,
}

/// The block that a workgroup of the cooperative variant computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenBlock {
    /// Rows and columns of a tile.
    pub tile: u32,
    /// Invocations in a subgroup; where it can vary, [`Screen::new`] finds out.
    pub lanes: u32,
    /// Subgroups by rows and by features.
    pub subgroups: [u32; 2],
    /// Tiles of a subgroup by rows and by features.
    pub tiles: [u32; 2],
    /// Elements of a row that are staged at a time: a multiple of the tile that divides 32.
    pub depth: u32,
    /// Tiles are staged element by element, as Metal needs it, and not as vectors.
    pub scalar: bool,
}

/// Subgroups, tiles and depth of the blocks there are, the usual one first.
const SHAPES: [([u32; 2], [u32; 2], u32); 4] =
    [([2, 2], [4, 4], 32), ([2, 2], [4, 4], 16), ([2, 4], [4, 2], 32), ([2, 2], [2, 2], 32)];

impl ScreenVariant {
    /// Those that an adapter can run, the usual one first.
    pub fn available(adapter: &AdapterDescription) -> Vec<Self> {
        let scalar = adapter.backend == "metal";
        let lanes = lane_counts(adapter).first().copied();
        let blocks = adapter.matrix_tile.zip(lanes).into_iter().flat_map(|(tile, lanes)| {
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
        staged + products + self.features() / SCREEN_GROUP * (SCREEN_GROUP + 1) * 16
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

/// Vectors of 4 in a row of halves whose source has `quads`.
pub fn half_quads(quads: u32) -> u32 {
    quads.next_multiple_of(MAX_DEPTH / 4)
}

/// Features per group of maxima, in every variant.
pub const SCREEN_GROUP: u32 = screen_portable::GROUP;

/// The kernels of `shaders/screen/`.
pub struct Screen {
    pipeline: Pipeline<main::Kernel>,
    variant: ScreenVariant,
}

impl Screen {
    /// Compiles one variant. A block of matrix units is made for the subgroups that the driver runs it with, which may
    /// be of another possible size than the variant has.
    ///
    /// # Errors
    /// [`Error::Shader`] if the device refuses it, [`Error::Device`] if no possible size is the driver's.
    pub fn new(gpu: &Gpu, variant: ScreenVariant) -> Result<Self> {
        let variant = match variant {
            ScreenVariant::Cooperative(block) => ScreenVariant::Cooperative(block.fitted(gpu)?),
            ScreenVariant::Portable => variant,
        };
        let pipeline = match variant {
            ScreenVariant::Cooperative(block) => gpu.pipeline_of(screen_cooperative::SOURCE, &block.defines())?,
            ScreenVariant::Portable => gpu.pipeline(&[])?,
        };
        Ok(Self { pipeline, variant })
    }

    /// The bounds of one chunk of one shard, which begins with a group.
    pub fn record(&self, recording: &mut Recording, bindings: main::Bindings<'_>) {
        let Params { rows, width, .. } = bindings.params;
        let groups = match self.variant {
            ScreenVariant::Cooperative(block) => [rows.div_ceil(block.rows()), width.div_ceil(block.features()), 1],
            ScreenVariant::Portable => grid(u64::from(rows.div_ceil(8)) * u64::from(width.div_ceil(64))),
        };
        recording.dispatch(&self.pipeline, bindings, groups);
    }
}

impl ScreenBlock {
    /// The block with as many lanes as the driver gives a subgroup of it.
    fn fitted(self, gpu: &Gpu) -> Result<Self> {
        if gpu.is_dry_run() {
            return Ok(self);
        }
        let mut seen = Vec::new();
        let others = lane_counts(gpu.description()).into_iter().filter(|lanes| *lanes != self.lanes);
        for lanes in [self.lanes].into_iter().chain(others) {
            let block = Self { lanes, ..self };
            let found = block.subgroups_of_driver(gpu)?;
            if found == [lanes, block.threads() / lanes].map(|number| number as f32) {
                return Ok(block);
            }
            seen.push(format!("{} of {} for {lanes} lanes", found[1], found[0]));
        }
        let seen = seen.join(", ");
        Err(Error::Device(format!("matrix units are not used: the driver runs subgroups of another size ({seen})")))
    }

    /// The size and the number of the subgroups of a workgroup.
    fn subgroups_of_driver(self, gpu: &Gpu) -> Result<[f32; 2]> {
        let pipeline: Pipeline<subgroups::Kernel> = gpu.pipeline(&self.defines())?;
        let maxima = gpu.buffer("probe", 4)?;
        let mut recording = Recording::default();
        recording.dispatch(&pipeline, subgroups::Bindings { maxima: &maxima }, [1, 1, 1]);
        gpu.submit(&gpu.program(recording)?)?;
        let found: Vec<f32> = gpu.read(&maxima)?;
        Ok([found[0], found[1]])
    }
}

/// The numbers of lanes that a subgroup with matrix units can have on an adapter, the likeliest first.
fn lane_counts(adapter: &AdapterDescription) -> Vec<u32> {
    match (adapter.subgroup_size, adapter.subgroup_sizes) {
        (Some(size), _) => vec![size],
        (None, Some((least, most))) => [32, 64].into_iter().filter(|lanes| (least..=most).contains(lanes)).collect(),
        (None, None) => Vec::new(),
    }
}

/// How far the sum in f16 may be from the key in f32 besides what rounding its inputs loses, as a fraction of |x| |w| +
/// |b| (docs/selection.md).
pub fn margin(quads: u32) -> f32 {
    // Three quarters of 2^-22 a term for the matrix units' sum, a quarter for the f32 fold that it is compared with;
    // then bias, key scale and the bound itself. Up, whatever f32 makes of it.
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
