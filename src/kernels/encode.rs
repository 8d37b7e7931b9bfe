//! Pre-activations of a chunk of features: the one dense product of a step.

use std::fmt;

use crate::error::Result;
use crate::gpu::shaders::{encode_subgroup, encode_tiled};
use crate::gpu::{AdapterDescription, Buffer, Gpu, Pipeline, Recording};

/// The ways to encode; all give the same bits on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeVariant {
    /// `shaders/encode/tiled.wgsl`: tiles in workgroup memory, for GPUs.
    Tiled,
    /// `shaders/encode/subgroup.wgsl`: a register tile a lane, for adapters in software.
    Subgroup {
        /// Invocations a subgroup: 4, 8 or 16.
        lanes: u32,
    },
}

impl EncodeVariant {
    /// Those that this adapter can run, the fastest first.
    pub fn available(adapter: &AdapterDescription) -> Vec<Self> {
        let subgroup = adapter.subgroup_size.filter(|lanes| [4, 8, 16].contains(lanes) && adapter.is_software());
        subgroup.map(|lanes| Self::Subgroup { lanes }).into_iter().chain([Self::Tiled]).collect()
    }

    /// Features a group of [`GroupMaxima`].
    pub fn group(self) -> u32 {
        match self {
            Self::Tiled => encode_tiled::GROUP,
            Self::Subgroup { lanes } => register_tile(lanes).1,
        }
    }

    /// The fastest one for this adapter.
    pub fn best(adapter: &AdapterDescription) -> Self {
        Self::available(adapter)[0]
    }
}

impl fmt::Display for EncodeVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tiled => write!(f, "tiled"),
            Self::Subgroup { lanes } => write!(f, "subgroup-{lanes}"),
        }
    }
}

/// Rows and feature groups of a lane's register tile; the loop over d must stay within the instruction cache
/// (docs/architecture.md, encode in software).
const fn register_tile(lanes: u32) -> (u32, u32) {
    match lanes {
        16 => (16, 4),
        _ => (16, 8),
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

enum Variant {
    Tiled(Pipeline<encode_tiled::main::Kernel>),
    Subgroup { main: Pipeline<encode_subgroup::main::Kernel>, lanes: u32 },
}

/// The kernels of `shaders/encode/`.
pub struct Encode(Variant);

impl Encode {
    /// Compiles one variant.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu, variant: EncodeVariant) -> Result<Self> {
        Ok(Self(match variant {
            EncodeVariant::Tiled => Variant::Tiled(gpu.pipeline(&[])?),
            EncodeVariant::Subgroup { lanes } => {
                Variant::Subgroup { main: gpu.pipeline(&Self::subgroup_defines(lanes))?, lanes }
            }
        }))
    }

    /// The definitions of `shaders/encode/subgroup.wgsl` for a subgroup size.
    pub fn subgroup_defines(lanes: u32) -> [(&'static str, u32); 4] {
        let (rows, groups) = register_tile(lanes);
        [("LANES", lanes), ("LANE_QUADS", lanes / 4), ("ROWS", rows), ("GROUPS", groups)]
    }

    /// One chunk of one shard.
    pub fn record(&self, recording: &mut Recording, arguments: &EncodeArguments<'_>) {
        let &EncodeArguments { centred, w_enc, b_enc, pre_activations, rows, quads, first, count, stride, relu } =
            arguments;
        let relu = u32::from(relu);
        match &self.0 {
            Variant::Tiled(main) => {
                let params = encode_tiled::Params { rows, quads, first, count, stride, relu, scaled: 0 };
                let bindings = encode_tiled::main::Bindings { centred, w_enc, b_enc, pre_activations, params };
                recording.dispatch(main, bindings, tiled_groups(rows, count));
            }
            Variant::Subgroup { main, lanes } => {
                let params = encode_subgroup::Params { rows, quads, first, count, stride, relu, scaled: 0 };
                let bindings = encode_subgroup::main::Bindings { centred, w_enc, b_enc, pre_activations, params };
                recording.dispatch(main, bindings, subgroup_groups(*lanes, rows, count));
            }
        }
    }
}

fn tiled_groups(rows: u32, count: u32) -> [u32; 3] {
    [count.div_ceil(encode_tiled::TILE), rows.div_ceil(encode_tiled::TILE), 1]
}

fn subgroup_groups(lanes: u32, rows: u32, count: u32) -> [u32; 3] {
    let (tile_rows, groups) = register_tile(lanes);
    let row_tiles = rows.div_ceil(tile_rows);
    let row_blocks = row_tiles.div_ceil(encode_subgroup::ROW_TILES);
    [encode_subgroup::ROW_TILES.min(row_tiles), count.div_ceil(lanes * groups), row_blocks]
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

enum MaximaVariant {
    Tiled(Pipeline<encode_tiled::group_maxima::Kernel>),
    Subgroup { main: Pipeline<encode_subgroup::group_maxima::Kernel>, lanes: u32 },
}

/// The other kernels of `shaders/encode/`: they keep only the largest key of each group of features.
pub struct GroupMaxima(MaximaVariant);

impl GroupMaxima {
    /// Compiles one variant.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu, variant: EncodeVariant) -> Result<Self> {
        Ok(Self(match variant {
            EncodeVariant::Tiled => MaximaVariant::Tiled(gpu.pipeline(&[])?),
            EncodeVariant::Subgroup { lanes } => {
                MaximaVariant::Subgroup { main: gpu.pipeline(&Encode::subgroup_defines(lanes))?, lanes }
            }
        }))
    }

    /// One chunk of one shard, which begins with a group.
    pub fn record(&self, recording: &mut Recording, arguments: &GroupMaximaArguments<'_>) {
        let &GroupMaximaArguments { centred, w_enc, b_enc, norms, maxima, rows, quads, first, count, stride, scaled } =
            arguments;
        let (relu, scaled) = (0, u32::from(scaled));
        match &self.0 {
            MaximaVariant::Tiled(main) => {
                let params = encode_tiled::Params { rows, quads, first, count, stride, relu, scaled };
                let bindings = encode_tiled::group_maxima::Bindings { centred, w_enc, b_enc, norms, maxima, params };
                recording.dispatch(main, bindings, tiled_groups(rows, count));
            }
            MaximaVariant::Subgroup { main, lanes } => {
                let params = encode_subgroup::Params { rows, quads, first, count, stride, relu, scaled };
                let bindings = encode_subgroup::group_maxima::Bindings { centred, w_enc, b_enc, norms, maxima, params };
                recording.dispatch(main, bindings, subgroup_groups(*lanes, rows, count));
            }
        }
    }
}
