use super::check::{Check, Checker, ELEMENTWISE};
use super::tensors::{AT_REST, Tensor, f64s, pad, random, stored, submit, unpad};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::center::{Params, main};
use crate::kernels::quads;
use crate::reference;

/// The centred rows, and the guard.
pub struct Centred {
    pub rows: Vec<f32>,
    pub guard: Vec<u32>,
}

pub fn center(gpu: &Gpu, x: &[f32], b_dec: &[f32], subtract: bool) -> Result<Centred> {
    let d = b_dec.len();
    let rows = x.len() / d;
    let pipeline = gpu.pipeline::<main::Kernel>(&[])?;
    let (x, b_dec) = (Tensor::new(gpu, &pad(x, d))?, Tensor::new(gpu, &pad(b_dec, d))?);
    let (centred, guard) = (Tensor::poisoned(gpu, rows * stored(d))?, Tensor::new(gpu, &AT_REST)?);
    let params = Params { rows: rows as u32, quads: quads(d), subtract: subtract.into(), one: 1.0 };
    submit(gpu, |recording| {
        let bindings = main::Bindings { x: &x, b_dec: &b_dec, centred: &centred, guard: &guard, params };
        recording.run(&pipeline, bindings);
    })?;
    Ok(Centred { rows: unpad(&centred.read::<f32>()?, d)?, guard: guard.read()? })
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("center", ELEMENTWISE);
    for (rows, d) in [(1, 1), (9, 33), (17, 256), (300, 50)] {
        let (x, b_dec) = (random(1, rows * d), random(2, d));
        let expected = reference::center(&f64s(&x), &f64s(&b_dec));
        values.close((rows, d), &center(checker.gpu, &x, &b_dec, true)?.rows, &expected);
        values.close((rows, d, "as it is"), &center(checker.gpu, &x, &b_dec, false)?.rows, &f64s(&x));
    }
    Ok(vec![values.done()])
}
