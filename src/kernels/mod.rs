//! The operations on the device. Each file has the stem of its shader and of its reference on the CPU: it compiles the
//! shader's entry points, chooses variants and computes dispatch sizes. What a kernel reads and writes is the shader's own
//! list of bindings ([`crate::gpu::shaders`]).

mod activity;
mod bias_gradient;
mod ceilings;
mod center;
mod check_bounds;
mod clip;
mod code_gradients;
mod decode;
mod encode;
mod gradients;
mod norms;
pub(crate) mod probe;
mod rescore;
mod residual;
mod screen;
mod select;
mod to_f16;
mod transpose;
mod update;

pub use activity::Activity;
pub use bias_gradient::BiasGradient;
pub use ceilings::{CeilingKernels, Ceilings};
pub use center::Center;
pub use check_bounds::CheckBounds;
pub use clip::Clip;
pub use code_gradients::CodeGradients;
pub use decode::Decode;
pub use encode::{Encode, EncodeVariant, GroupMaxima, TileShape};
pub use gradients::Gradients;
pub use norms::Norms;
pub use rescore::Rescore;
pub use residual::Residual;
pub use screen::{SCREEN_GROUP, Screen, ScreenBlock, ScreenVariant, half_quads, margin};
pub use select::Select;
pub use to_f16::ToF16;
pub use transpose::{Runs, Transpose};
pub use update::Update;

use crate::error::Result;
use crate::gpu::{Buffer, Gpu, shaders};

/// Features a block of rule F (docs/architecture.md); shards are cut at its multiples.
pub const BLOCK_FEATURES: u32 = shaders::gradients::BLOCK_FEATURES;

/// Rows a block of rule B (docs/architecture.md).
pub const BLOCK_ROWS: u32 = shaders::gradients::BLOCK_ROWS;

/// Rows that one workgroup of a kernel with rule R takes.
const ROWS_A_WORKGROUP: u32 = shaders::gradients::ROWS_A_WORKGROUP;

/// A row of `d` values is stored in so many vectors of 4: `d` is padded to a multiple of 16 with zeros, which no fold feels.
pub fn quads(d: usize) -> u32 {
    d.div_ceil(16) as u32 * 4
}

/// The active features of a batch: `k` entries a row, by ascending feature.
#[derive(Clone, Debug)]
pub struct Codes {
    /// Entries a row.
    pub k: u32,
    /// Feature of each entry, `[rows, k]` u32.
    pub features: Buffer,
    /// What `decode` multiplies the decoder rows by: the rectified pre-activations, `[rows, k]`.
    pub values: Buffer,
    /// What they were selected by and are reported as: `values`, times the decoder norms where those are selected by.
    pub keys: Buffer,
}

impl Codes {
    /// Room for the codes of `rows` rows.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, rows: u32, k: u32) -> Result<Self> {
        let entries = u64::from(rows) * u64::from(k);
        Ok(Self {
            k,
            features: gpu.buffer("features of the codes", entries)?,
            values: gpu.buffer("values of the codes", entries)?,
            keys: gpu.buffer("keys of the codes", entries)?,
        })
    }
}

/// What a forward pass runs.
pub struct ForwardKernels {
    /// `x - b_dec`.
    pub center: Center,
    /// Reconstructions.
    pub decode: Decode,
    /// Loss and its gradient at the reconstruction.
    pub residual: Residual,
    /// Decoder norms.
    pub norms: Norms,
}

impl ForwardKernels {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] naming the one that the device refuses.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self {
            center: Center::new(gpu)?,
            decode: Decode::new(gpu)?,
            residual: Residual::new(gpu)?,
            norms: Norms::new(gpu)?,
        })
    }
}

/// What a training step runs after the forward pass.
pub struct BackwardKernels {
    /// Codes by feature.
    pub transpose: Transpose,
    /// Gradients at the codes.
    pub code_gradients: CodeGradients,
    /// Gradients of the active features, reduced to what clipping needs.
    pub gradients: Gradients,
    /// The gradient of `b_dec`.
    pub bias_gradient: BiasGradient,
    /// The global norm.
    pub clip: Clip,
    /// Adam.
    pub update: Update,
    /// Which features fire.
    pub activity: Activity,
}

impl BackwardKernels {
    /// Compiles them, for Adam's moments in f32 or in bf16.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] naming the one that the device refuses.
    pub fn new(gpu: &Gpu, bf16_moments: bool) -> Result<Self> {
        Ok(Self {
            transpose: Transpose::new(gpu)?,
            code_gradients: CodeGradients::new(gpu)?,
            gradients: Gradients::new(gpu)?,
            bias_gradient: BiasGradient::new(gpu)?,
            clip: Clip::new(gpu)?,
            update: Update::new(gpu, bf16_moments)?,
            activity: Activity::new(gpu)?,
        })
    }
}

/// Workgroups of `K` for `invocations` one-dimensional invocations.
fn groups_for<K: crate::gpu::EntryPoint>(invocations: u64) -> [u32; 3] {
    crate::gpu::grid(invocations.div_ceil(u64::from(K::WORKGROUP[0])))
}

/// Workgroups of `K` for the pieces of `rows` rows of so many vectors (`shaders/shared/pieces.wgsl`).
fn groups_for_pieces<K: crate::gpu::EntryPoint>(rows: u32, quads: u32) -> [u32; 3] {
    let pieces = u64::from(rows) * u64::from(quads.div_ceil(shaders::decode::PIECE));
    groups_for::<K>(pieces * u64::from(shaders::decode::PIECE_THREADS))
}

/// Workgroups for `rows` rows of a kernel with rule R.
fn groups_for_rows(rows: u32) -> [u32; 3] {
    crate::gpu::grid(u64::from(rows.div_ceil(ROWS_A_WORKGROUP)))
}
