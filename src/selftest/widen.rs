use half::{bf16, f16};

use super::check::{Check, Checker};
use super::tensors::{Tensor, stored, submit};
use crate::data::RowsView;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::widen::{Params, main};
use crate::kernels::quads;

/// The rows `[rows, stored(d)]` that the kernel makes of `[rows, d]` 16-bit floats.
pub fn widen(gpu: &Gpu, rows: RowsView<'_>, d: usize) -> Result<Vec<f32>> {
    let pipeline = gpu.pipeline::<main::Kernel>(&[])?;
    let count = rows.len() / d;
    let mut words = vec![0_u32; rows.len().div_ceil(2)];
    bytemuck::cast_slice_mut(&mut words)[..rows.bytes().len()].copy_from_slice(rows.bytes());
    let (words, x) = (Tensor::new(gpu, &words)?, Tensor::poisoned(gpu, count * stored(d))?);
    let is_bf16 = matches!(rows, RowsView::Bf16(_)).into();
    let params = Params { rows: count as u32, quads: quads(d), d: d as u32, is_bf16 };
    submit(gpu, |recording| recording.run(&pipeline, main::Bindings { stored: &words, x: &x, params }))?;
    x.read()
}

/// Rows of every finite 16-bit float there is, over and over.
pub fn halves(count: usize) -> (Vec<f16>, Vec<bf16>) {
    let halves = (0..=u16::MAX).map(f16::from_bits).filter(|value| value.is_finite());
    // Subnormal ones are the host's to keep: a driver may flush them wherever they are computed with.
    let brains = (0..=u16::MAX).map(bf16::from_bits).filter(|value| value.is_normal() || value.to_f32() == 0.0);
    let (halves, brains): (Vec<_>, Vec<_>) = (halves.collect(), brains.collect());
    (halves.into_iter().cycle().take(count).collect(), brains.into_iter().cycle().take(count).collect())
}

/// The bits of the rows as they should be.
pub fn expected(rows: RowsView<'_>, d: usize) -> Vec<u32> {
    let rows = rows.to_f32();
    let padded = rows.chunks_exact(d).flat_map(|row| row.iter().copied().chain(std::iter::repeat(0.0)).take(stored(d)));
    padded.map(f32::to_bits).collect()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("widen", 0.0);
    for (rows, d) in [(1, 1), (3, 33), (256, 254)] {
        let (halves, brains) = halves(rows * d);
        for view in [RowsView::F16(&halves), RowsView::Bf16(&brains)] {
            let bits: Vec<u32> = widen(checker.gpu, view, d)?.into_iter().map(f32::to_bits).collect();
            values.equal((rows, d, view.dtype()), &bits, &expected(view, d));
        }
    }
    Ok(vec![values.done()])
}
