use super::check::{Check, Checker, ELEMENTWISE};
use super::tensors::{Tensor, f64s, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::merge::{Params, main};

/// The sums of two nodes, of vectors of 4.
pub fn merge(gpu: &Gpu, left: &[f32], right: &[f32]) -> Result<Vec<f32>> {
    let pipeline = gpu.pipeline::<main::Kernel>(&[])?;
    let params = Params { count: left.len() as u32 / 4, one: 1.0 };
    let (left, right) = (Tensor::new(gpu, left)?, Tensor::new(gpu, right)?);
    let parent = Tensor::poisoned(gpu, params.count as usize * 4)?;
    submit(gpu, |recording| {
        recording.run(&pipeline, main::Bindings { left: &left, right: &right, parent: &parent, params });
    })?;
    parent.read()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("merge", ELEMENTWISE);
    for vectors in [1, 63, 65, 1000] {
        let (left, right) = (random(1, 4 * vectors), random(2, 4 * vectors));
        let expected: Vec<f64> = f64s(&left).iter().zip(f64s(&right)).map(|(left, right)| left + right).collect();
        values.close(vectors, &merge(checker.gpu, &left, &right)?, &expected);
    }
    Ok(vec![values.done()])
}
