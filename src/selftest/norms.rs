use super::check::{Check, Checker, FOLD};
use super::tensors::{Scalars, Tensor, f64s, floats, pad, planes, random, submit};
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::norms::{Params, main};
use crate::kernels::quads;
use crate::reference;

/// The norms of rows of `d`.
pub fn norms(gpu: &Gpu, w_dec: &[f32], d: usize) -> Result<Vec<f32>> {
    let count = w_dec.len() / d;
    let pipeline = gpu.pipeline::<main::Kernel>(&planes().defines())?;
    let (w_dec, scalars) = (Tensor::new(gpu, &pad(w_dec, d))?, Scalars::new(gpu, planes(), count)?);
    let params = Params { quads: quads(d), count: count as u32, one: 1.0 };
    submit(gpu, |recording| {
        recording.run(&pipeline, main::Bindings { w_dec: &w_dec, scalars: &scalars, params });
    })?;
    Ok(floats(&scalars.read(&[Plane::Norm])?[0]))
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("norms", FOLD);
    for (count, d) in [(1, 1), (40, 129), (65, 768)] {
        let w_dec = random(1, count * d);
        values.close((count, d), &norms(checker.gpu, &w_dec, d)?, &reference::norms(&f64s(&w_dec), d));
    }
    Ok(vec![values.done()])
}
