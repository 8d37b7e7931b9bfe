use super::check::{Check, Checker, ELEMENTWISE, FOLD};
use super::tensors::{AT_REST, Tensor, f64s, pad, random, stored, submit, unpad, wrong};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::center::{Params, main, total};
use crate::kernels::quads;
use crate::reference::{self, lists};

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

/// The sum that is put behind the rows.
pub fn total(gpu: &Gpu, rows: &[f32], d: usize) -> Result<Vec<f32>> {
    let pipeline = gpu.pipeline::<total::Kernel>(&[])?;
    let count = rows.len() / d;
    let centred = Tensor::new(gpu, &[pad(rows, d), vec![f32::NAN; stored(d)]].concat())?;
    let params = Params { rows: count as u32, quads: quads(d), subtract: 1, one: 1.0 };
    submit(gpu, |recording| recording.run(&pipeline, total::Bindings { centred: &centred, params }))?;
    let mut after = unpad(&centred.read::<f32>()?, d)?;
    let sum = after.split_off(rows.len());
    if after == rows { Ok(sum) } else { Err(wrong("the rows were written")) }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("center", ELEMENTWISE);
    for (rows, d) in [(1, 1), (9, 33), (17, 256), (300, 50)] {
        let (x, b_dec) = (random(1, rows * d), random(2, d));
        let expected = reference::center(&f64s(&x), &f64s(&b_dec));
        values.close((rows, d), &center(checker.gpu, &x, &b_dec, true)?.rows, &expected);
        values.close((rows, d, "as it is"), &center(checker.gpu, &x, &b_dec, false)?.rows, &f64s(&x));
    }
    let mut totals = checker.compare("center.total", FOLD);
    for (rows, d) in [(1, 1), (9, 33), (700, 50)] {
        let values = random(3, rows * d);
        let expected = lists::b_dec_gradient(&f64s(&values), &[], &[], d, false);
        totals.close((rows, d), &total(checker.gpu, &values, d)?, &expected);
    }
    Ok(vec![values.done(), totals.done()])
}
