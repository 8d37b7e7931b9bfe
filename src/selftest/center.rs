use super::check::{Check, Checker, ELEMENTWISE};
use super::tensors::{AT_REST, Tensor, f64s, pad, random, stored, submit, unpad};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::center::{Params, main::Bindings};
use crate::kernels::{Center, quads};
use crate::reference;

const INPUT_NOT_FINITE: u32 = 1;

/// Centred rows and the guard.
pub fn center(gpu: &Gpu, kernel: &Center, x: &[f32], b_dec: &[f32], subtract: bool) -> Result<(Vec<f32>, Vec<u32>)> {
    let d = b_dec.len();
    let rows = x.len() / d;
    let (x, b_dec) = (Tensor::new(gpu, &pad(x, d))?, Tensor::new(gpu, &pad(b_dec, d))?);
    let (centred, guard) = (Tensor::poisoned(gpu, rows * stored(d))?, Tensor::new(gpu, &AT_REST)?);
    let params = Params { rows: rows as u32, quads: quads(d), subtract: subtract.into() };
    submit(gpu, |recording| {
        let bindings = Bindings { x: &x, b_dec: &b_dec, centred: &centred, guard: &guard, params };
        kernel.record(recording, bindings);
    })?;
    Ok((unpad(&centred.read::<f32>()?, d)?, guard.read()?))
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = Center::new(checker.gpu)?;
    let mut values = checker.compare("center", ELEMENTWISE);
    let mut guards = checker.compare("center.guard", 0.0);
    for (rows, d) in [(1, 1), (7, 100), (65, 257)] {
        let (mut x, b_dec) = (random(1, rows * d), random(2, d));
        let (centred, guard) = center(checker.gpu, &kernel, &x, &b_dec, true)?;
        values.close((rows, d), &centred, &reference::center(&f64s(&x), &f64s(&b_dec)));
        guards.equal((rows, d), &guard, &AT_REST);
        x[rows * d - 1] = f32::NAN;
        let (_, guard) = center(checker.gpu, &kernel, &x, &b_dec, false)?;
        guards.equal((rows, d, "NaN"), &guard, &[INPUT_NOT_FINITE, !(rows as u32 - 1)]);
    }
    Ok(vec![values.done(), guards.done()])
}
