use super::check::{Check, Checker, FOLD};
use super::tensors::{AT_REST, Tensor, f64s, pad, random, submit};
use crate::engine::parameters::CHUNKS;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::clip::{Params, main};
use crate::kernels::quads;
use crate::reference;

/// Norm and coefficient, and the guard.
pub struct Clipped {
    pub norm: f32,
    pub coefficient: f32,
    pub guard: Vec<u32>,
}

/// Clips at `limit`; `squares` are those of the first chunks.
pub fn clip(gpu: &Gpu, squares: &[f32], b_dec_gradient: &[f32], limit: f32) -> Result<Clipped> {
    let pipeline = gpu.pipeline::<main::Kernel>(&[])?;
    let mut chunk_squares = squares.to_vec();
    chunk_squares.resize(CHUNKS as usize, 0.0);
    let d = b_dec_gradient.len();
    let (squares, gradient) = (Tensor::new(gpu, &chunk_squares)?, Tensor::new(gpu, &pad(b_dec_gradient, d))?);
    let (clip, guard) = (Tensor::poisoned(gpu, 2)?, Tensor::new(gpu, &AT_REST)?);
    let params = Params { quads: quads(d), limit, one: 1.0 };
    submit(gpu, |recording| {
        let (chunk_squares, b_dec_gradient) = (&squares, &gradient);
        let bindings = main::Bindings { chunk_squares, b_dec_gradient, clip: &clip, guard: &guard, params };
        recording.run(&pipeline, bindings);
    })?;
    let [norm, coefficient] = clip.read::<[f32; 2]>()?[0];
    Ok(Clipped { norm, coefficient, guard: guard.read()? })
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("clip", FOLD);
    for (chunks, d) in [(0, 1), (3, 127), (64, 768)] {
        let squares: Vec<f32> = random(1, chunks).into_iter().map(f32::abs).collect();
        let gradient = random(2, d);
        for limit in [0.0, 1.0, 1e6] {
            let actual = clip(checker.gpu, &squares, &gradient, limit)?;
            let limit = (limit > 0.0).then_some(f64::from(limit));
            let expected = reference::clip(&f64s(&squares), &f64s(&gradient), limit);
            values.close((chunks, d, limit, "norm"), &[actual.norm], &[expected.norm]);
            values.close((chunks, d, limit, "coefficient"), &[actual.coefficient], &[expected.coefficient]);
        }
    }
    Ok(vec![values.done()])
}
