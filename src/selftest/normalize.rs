use super::check::{Check, Checker};
use super::tensors::{Tensor, random, stored, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::normalize::{Params, scale as kernel};
use crate::kernels::quads;

/// Rows `[rows, stored(d)]` times a factor.
pub fn scale(gpu: &Gpu, rows: &[f32], d: usize, factor: f32) -> Result<Vec<f32>> {
    let pipeline = gpu.pipeline::<kernel::Kernel>(&[])?;
    let x = Tensor::new(gpu, rows)?;
    let params = Params { rows: (rows.len() / stored(d)) as u32, quads: quads(d), factor };
    submit(gpu, |recording| recording.run(&pipeline, kernel::Bindings { x: &x, params }))?;
    x.read()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("normalize.scale", 0.0);
    for (rows, d) in [(1, 1), (3, 33), (256, 254)] {
        let x = random(7, rows * stored(d));
        let expected: Vec<f32> = x.iter().map(|value| value * 0.1).collect();
        values.equal((rows, d), &scale(checker.gpu, &x, d, 0.1)?, &expected);
    }
    Ok(vec![values.done()])
}
