use super::check::{Check, Checker, ELEMENTWISE, FOLD};
use super::tensors::{AT_REST, Tensor, f64s, pad, random, stored, submit, unpad, wrong};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::center::{Params, layer_norm, main, total};
use crate::kernels::quads;
use crate::reference::{self, lists};
use crate::sae::RowNorm;

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
    let params = params(rows, d, subtract);
    submit(gpu, |recording| {
        let bindings = main::Bindings { x: &x, b_dec: &b_dec, centred: &centred, guard: &guard, params };
        recording.run(&pipeline, bindings);
    })?;
    Ok(Centred { rows: unpad(&centred.read::<f32>()?, d)?, guard: guard.read()? })
}

fn params(rows: usize, d: usize, subtract: bool) -> Params {
    Params { rows: rows as u32, quads: quads(d), d: d as u32, subtract: subtract.into(), one: 1.0 }
}

/// Rows whose mean and standard deviation are taken out, and these.
pub struct Normalized {
    /// With what is stored behind each row.
    pub stored: Vec<f32>,
    pub rows: Vec<f32>,
    pub norms: Vec<[f32; 2]>,
    pub guard: Vec<u32>,
}

pub fn layer_norm(gpu: &Gpu, x: &[f32], b_dec: &[f32], subtract: bool) -> Result<Normalized> {
    let d = b_dec.len();
    let rows = x.len() / d;
    let pipeline = gpu.pipeline::<layer_norm::Kernel>(&[])?;
    let (x, b_dec) = (Tensor::new(gpu, &pad(x, d))?, Tensor::new(gpu, &pad(b_dec, d))?);
    let (centred, guard) = (Tensor::poisoned(gpu, rows * stored(d))?, Tensor::new(gpu, &AT_REST)?);
    let (row_norms, params) = (Tensor::new(gpu, &vec![[f32::NAN; 2]; rows])?, params(rows, d, subtract));
    submit(gpu, |recording| {
        let bindings = layer_norm::Bindings {
            x: &x,
            b_dec: &b_dec,
            centred: &centred,
            guard: &guard,
            row_norms: &row_norms,
            params,
        };
        recording.run(&pipeline, bindings);
    })?;
    let stored = centred.read::<f32>()?;
    Ok(Normalized { rows: unpad(&stored, d)?, stored, norms: row_norms.read()?, guard: guard.read()? })
}

/// What they should be.
pub fn normalized(x: &[f32], b_dec: &[f32], subtract: bool) -> (Vec<f64>, Vec<[f64; 2]>) {
    let norms: Vec<RowNorm> =
        x.chunks_exact(b_dec.len()).map(|row| RowNorm::of(row.iter().map(|&x| x.into()))).collect();
    let rows = x.chunks_exact(b_dec.len()).zip(&norms).flat_map(|(row, norm)| {
        let bias = b_dec.iter().map(|&bias| if subtract { f64::from(bias) } else { 0.0 });
        row.iter().zip(bias).map(|(&x, bias)| norm.normalized(x.into()) - bias).collect::<Vec<_>>()
    });
    (rows.collect(), norms.iter().map(|norm| [norm.mean, norm.deviation]).collect())
}

/// The sum that is put behind the rows.
pub fn total(gpu: &Gpu, rows: &[f32], d: usize) -> Result<Vec<f32>> {
    let pipeline = gpu.pipeline::<total::Kernel>(&[])?;
    let count = rows.len() / d;
    let centred = Tensor::new(gpu, &[pad(rows, d), vec![f32::NAN; stored(d)]].concat())?;
    let params = params(count, d, true);
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
    let mut normal = checker.compare("center.layer_norm", FOLD);
    for (rows, d) in [(1, 2), (9, 33), (17, 256), (5, 1030)] {
        let (x, b_dec) = (random(4, rows * d), random(5, d));
        let (expected, norms) = normalized(&x, &b_dec, true);
        let found = layer_norm(checker.gpu, &x, &b_dec, true)?;
        normal.close((rows, d), &found.rows, &expected);
        normal.close((rows, d, "norms"), found.norms.as_flattened(), norms.as_flattened());
    }
    Ok(vec![values.done(), totals.done(), normal.done()])
}
