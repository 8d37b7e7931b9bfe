//! The rows of a batch on their way to the device.

use super::parameters::pad_rows;
use crate::data::RowsView;
use crate::error::Result;
use crate::gpu::shaders::{normalize, widen};
use crate::gpu::{Buffer, Gpu, Pipeline, Program, Recording, UploadBuffers};
use crate::kernels::quads;

/// Room for rows as they are stored, and what makes f32 of them on the device.
pub(super) struct StoredRows {
    /// `[rows, d]` of 16 bits.
    stored: Buffer,
    of_f16: Program,
    of_bf16: Program,
    /// What is done to the rows once they are f32.
    scaling: Option<Program>,
    padded: Vec<f32>,
    uploads: UploadBuffers,
}

impl StoredRows {
    /// Room for as many rows as `x` has, `[rows, quads]` vec4.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if it does not fit, [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu, x: &Buffer, rows: u32, d: usize) -> Result<Self> {
        let stored = gpu.for_part("batch").buffer("stored rows", (u64::from(rows) * d as u64).div_ceil(2))?;
        let pipeline: Pipeline<widen::main::Kernel> = gpu.pipeline(&[])?;
        let program = |is_bf16: bool| {
            let params = widen::Params { rows, quads: quads(d), d: d as u32, is_bf16: is_bf16.into() };
            let mut recording = Recording::default();
            recording.run(&pipeline, widen::main::Bindings { stored: &stored, x, params });
            gpu.program(recording)
        };
        let (of_f16, of_bf16) = (program(false)?, program(true)?);
        Ok(Self { stored, of_f16, of_bf16, scaling: None, padded: Vec::new(), uploads: UploadBuffers::default() })
    }

    /// From now on multiplies the rows of `x` by a factor.
    ///
    /// # Errors
    /// [`crate::Error::Shader`].
    pub fn scale(&mut self, gpu: &Gpu, x: &Buffer, rows: u32, factor: f32) -> Result<()> {
        let pipeline: Pipeline<normalize::scale::Kernel> = gpu.pipeline(&[])?;
        let quads = (x.bytes() / 16 / u64::from(rows)) as u32;
        let mut recording = Recording::default();
        recording.run(&pipeline, normalize::scale::Bindings { x, params: normalize::Params { rows, quads, factor } });
        self.scaling = Some(gpu.program(recording)?);
        Ok(())
    }

    /// Makes room for `batches` batches that are under way to `x` at once.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn reserve(&self, gpu: &Gpu, x: &Buffer, batches: usize) -> Result<()> {
        self.uploads.reserve(gpu, x.bytes(), batches)
    }

    /// Puts `[rows, d]` rows into `x`, for what is submitted next.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`] or [`crate::Error::Device`] if the device has failed,
    /// [`crate::Error::OutOfMemory`] if there is no room for a copy.
    pub fn upload(&mut self, gpu: &Gpu, rows: RowsView<'_>, d: usize, x: &Buffer) -> Result<()> {
        match rows {
            RowsView::F32(_) if d.is_multiple_of(16) => self.uploads.upload(gpu, x, rows.bytes()),
            RowsView::F32(rows) => {
                pad_rows(rows, d, &mut self.padded);
                self.uploads.upload(gpu, x, bytemuck::cast_slice(&self.padded))
            }
            RowsView::F16(_) => self.widen(gpu, rows.bytes(), &self.of_f16),
            RowsView::Bf16(_) => self.widen(gpu, rows.bytes(), &self.of_bf16),
        }?;
        self.scaling.as_ref().map_or(Ok(()), |scaling| gpu.submit(scaling))
    }

    fn widen(&self, gpu: &Gpu, bytes: &[u8], program: &Program) -> Result<()> {
        self.uploads.upload(gpu, &self.stored, bytes)?;
        gpu.submit(program)
    }
}
