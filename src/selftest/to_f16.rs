use super::check::{Check, Checker};
use super::tensors::{Tensor, f64s, pad, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::to_f16::{Params, main::Bindings};
use crate::kernels::{ToF16, half_quads, quads};
use crate::reference;

/// Rows in f16, with their scales and bounds.
pub struct Halves {
    /// `[count, line]` vectors of 4.
    pub values: Vec<f32>,
    /// The power of two that undoes the scale, bounds of the norm and of what is lost, 0.
    pub bounds: Vec<[f32; 4]>,
}

/// `count` rows of `[rows, d]` from `first` on.
pub fn to_f16(gpu: &Gpu, kernel: &ToF16, source: &[f32], d: usize, (first, count): (usize, usize)) -> Result<Halves> {
    let line = half_quads(quads(d));
    let source = Tensor::new(gpu, &pad(source, d))?;
    let halves = Tensor::poisoned(gpu, count * line as usize * 2)?;
    let bounds = Tensor::poisoned(gpu, count * 4)?;
    let params = Params { quads: quads(d), line, first: first as u32, count: count as u32 };
    submit(gpu, |recording| {
        kernel.record(recording, Bindings { source: &source, halves: &halves, bounds: &bounds, params });
    })?;
    let values = halves.read::<half::f16>()?.into_iter().map(f32::from).collect();
    Ok(Halves { values, bounds: bounds.read()? })
}

/// Rows of every size that f32 has, and ties.
pub fn source(rows: usize, d: usize) -> Vec<f32> {
    let sizes = [1.0, 1e-30, 1e30, 3e38, 1e-20, 2e-25, 1e-3, 512.0];
    let mut source = random(1, rows * d);
    for (at, value) in source.iter_mut().enumerate() {
        let (row, column) = (at / d, at % d);
        *value *= sizes[row % sizes.len()];
        // An element far smaller than the others, a tie between two f16, a zero.
        match column % 11 {
            3 => *value *= 1e-7,
            5 => *value = (1.0 + 2_f32.powi(-11)) * sizes[row % sizes.len()],
            7 => *value = 0.0,
            _ => {}
        }
    }
    source
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = ToF16::new(checker.gpu)?;
    let mut values = checker.compare("to_f16", 0.0);
    let mut scales = checker.compare("to_f16.scales", 0.0);
    for (rows, d) in [(1, 1), (9, 33), (17, 300)] {
        let source = source(rows, d);
        let actual = to_f16(checker.gpu, &kernel, &source, d, (0, rows))?;
        let expected = reference::to_f16(&f64s(&source), d);
        let width = half_quads(quads(d)) as usize * 4;
        let padded = |row: &(Vec<f64>, f64)| {
            row.0.iter().map(|value| *value as f32).chain(std::iter::repeat(0.0)).take(width).collect::<Vec<_>>()
        };
        values.equal((rows, d), &actual.values, &expected.iter().flat_map(padded).collect::<Vec<_>>());
        let unscales: Vec<f32> = actual.bounds.iter().map(|[unscale, ..]| *unscale).collect();
        scales.equal((rows, d), &unscales, &expected.iter().map(|row| row.1 as f32).collect::<Vec<_>>());
    }
    Ok(vec![values.done(), scales.done()])
}
