use super::check::{Check, Checker, ELEMENTWISE, FOLD};
use super::tensors::{AT_REST, HostCodes, Tensor, f64s, pad, random, stored, submit, unpad};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::residual::{Params, main::Bindings};
use crate::kernels::{Residual, quads};
use crate::reference;

const LOSS_NOT_FINITE: u32 = 2;

pub struct Outcome {
    pub gradient: Vec<f32>,
    /// Squared error, x · x^, |x^|², active features, each `[rows]`.
    pub statistics: [Vec<f32>; 4],
    pub guard: Vec<u32>,
}

pub fn residual(
    gpu: &Gpu,
    kernel: &Residual,
    x: &[f32],
    x_hat: &[f32],
    values: &[f32],
    d: usize,
    batch: usize,
) -> Result<Outcome> {
    let rows = x.len() / d;
    let k = values.len() / rows.max(1);
    let (x, reconstruction) = (Tensor::new(gpu, &pad(x, d))?, Tensor::new(gpu, &pad(x_hat, d))?);
    let values = Tensor::new(gpu, values)?;
    let (gradient, row_statistics) = (Tensor::poisoned(gpu, rows * stored(d))?, Tensor::poisoned(gpu, rows * 4)?);
    let guard = Tensor::new(gpu, &AT_REST)?;
    let params = Params { rows: rows as u32, quads: quads(d), k: k as u32, scale: 2.0 / batch as f32 };
    submit(gpu, |recording| {
        let bindings = Bindings {
            x: &x,
            reconstruction: &reconstruction,
            values: &values,
            gradient: &gradient,
            row_statistics: &row_statistics,
            guard: &guard,
            params,
        };
        kernel.record(recording, bindings);
    })?;
    let statistics: Vec<f32> = row_statistics.read()?;
    let statistics = [0, 1, 2, 3].map(|which| statistics.iter().copied().skip(which).step_by(4).collect());
    Ok(Outcome { gradient: unpad(&gradient.read::<f32>()?, d)?, statistics, guard: guard.read()? })
}

/// Values above 0 of each row.
pub fn active(codes: &HostCodes) -> Vec<f64> {
    codes.values.chunks_exact(codes.k).map(|row| row.iter().filter(|value| **value > 0.0).count() as f64).collect()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = Residual::new(checker.gpu)?;
    let mut gradient = checker.compare("residual.gradient", ELEMENTWISE);
    let mut sums = checker.compare("residual.sums", FOLD);
    let mut counts = checker.compare("residual.active", 0.0);
    let mut guards = checker.compare("residual.guard", 0.0);
    for (rows, d, k) in [(1, 1, 1), (2, 127, 31), (5, 129, 33), (65, 768, 100)] {
        let (mut x, x_hat) = (random(1, rows * d), random(2, rows * d));
        let codes = HostCodes::random(3, rows, 200, k, false);
        let batch = 3 * rows;
        let run = |x: &[f32]| residual(checker.gpu, &kernel, x, &x_hat, &codes.values, d, batch);
        let outcome = run(&x)?;
        let expected = reference::residual(&f64s(&x_hat), &f64s(&x), d, batch);
        let case = (rows, d, k);
        gradient.close(case, &outcome.gradient, &expected.gradient);
        let [squared_error, dot, squared_norm, count] = &outcome.statistics;
        sums.close((case, "squared error"), squared_error, &expected.squared_error);
        sums.close((case, "dot"), dot, &expected.dot);
        sums.close((case, "squared norm"), squared_norm, &expected.squared_norm);
        counts.equal(case, &f64s(count), &active(&codes));
        guards.equal(case, &outcome.guard, &AT_REST);
        x[rows * d - 1] = f32::NAN;
        guards.equal((case, "NaN"), &run(&x)?.guard, &[LOSS_NOT_FINITE, !(rows as u32 - 1)]);
    }
    Ok([gradient, sums, counts, guards].map(|comparison| comparison.done()).into())
}
