//! The squared distances of rows from their mean, whose sum is their variance: of a batch, or of a field's error on it.

use crate::error::Result;
use crate::gpu::shaders::variance;
use crate::gpu::{Buffer, Gpu, Pipeline, Recording};

/// Buffers and kernels for one kind of rows.
pub struct Variance {
    /// The squared distance of each row from the mean of all, `[rows]`.
    pub distances: Buffer,
    row_blocks: Buffer,
    mean: Buffer,
    blocks: Pipeline<variance::blocks::Kernel>,
    means: Pipeline<variance::means::Kernel>,
    rows: Pipeline<variance::rows::Kernel>,
    /// Of its kernels.
    pub params: variance::Params,
}

/// The rows whose variance is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarianceOf {
    /// The batch's own.
    Input,
    /// The error of a field on them.
    Error,
}

impl VarianceOf {
    /// The definitions of `shaders/variance.wgsl`: an error takes two vectors of each row.
    pub fn defines(self) -> [(&'static str, u32); 2] {
        match self {
            Self::Input => [("ERROR", 0), ("AHEAD", 8)],
            Self::Error => [("ERROR", 1), ("AHEAD", 4)],
        }
    }
}

/// Operands of a pass.
#[derive(Clone, Copy)]
pub struct VarianceInputs<'a> {
    /// The batch, `[rows, quads]` vec4.
    pub x: &'a Buffer,
    /// The decoded list of the field, `[rows, quads]` vec4; not used for the batch's own variance.
    pub sums: &'a Buffer,
    /// The output bias, `[quads]` vec4; not used for the batch's own variance.
    pub b_dec: &'a Buffer,
}

impl Variance {
    /// Compiles the kernels, and makes the buffers for `rows` rows of `quads` vectors.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if they do not fit, [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu, of: VarianceOf, rows: u32, quads: u32) -> Result<Self> {
        let defines = of.defines();
        let row_blocks = u64::from(rows.div_ceil(variance::BLOCK_ROWS));
        Ok(Self {
            distances: gpu.buffer("distances from the mean", rows.into())?,
            row_blocks: gpu.buffer("sums by row block", 4 * row_blocks * u64::from(quads))?,
            mean: gpu.buffer("mean row", 4 * u64::from(quads))?,
            blocks: gpu.pipeline(&defines)?,
            means: gpu.pipeline(&defines)?,
            rows: gpu.pipeline(&defines)?,
            params: variance::Params { rows, quads, share: 1.0 / rows as f32, one: 1.0 },
        })
    }

    /// Finds the distances.
    pub fn record(&self, recording: &mut Recording, VarianceInputs { x, sums, b_dec }: VarianceInputs<'_>) {
        let Self { distances, row_blocks, mean, params, .. } = self;
        let params = *params;
        recording.run(&self.blocks, variance::blocks::Bindings { x, sums, b_dec, row_blocks, params });
        recording.run(&self.means, variance::means::Bindings { x, sums, b_dec, row_blocks, mean, params });
        recording.run(&self.rows, variance::rows::Bindings { x, sums, b_dec, mean, distances, params });
    }
}
