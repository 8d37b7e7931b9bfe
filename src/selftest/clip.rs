use super::check::{Check, Checker, FOLD};
use super::tensors::{AT_REST, Tensor, f64s, pad, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::clip::{Params, main::Bindings};
use crate::kernels::{Clip, quads};
use crate::reference;

const GRADIENT_NOT_FINITE: u32 = 4;

/// Norm and coefficient, and the guard; a limit of 0 is none.
pub fn clip(
    gpu: &Gpu,
    kernel: &Clip,
    squares: &[f32],
    b_dec_gradient: &[f32],
    limit: f32,
) -> Result<(Vec<f32>, Vec<u32>)> {
    let mut stored_squares = squares.to_vec();
    stored_squares.resize(squares.len().next_multiple_of(4), 0.0);
    let square_quads = stored_squares.len() as u32 / 4;
    let d = b_dec_gradient.len();
    let (block_squares, b_dec_gradient) =
        (Tensor::new(gpu, &stored_squares)?, Tensor::new(gpu, &pad(b_dec_gradient, d))?);
    let (clip, guard) = (Tensor::poisoned(gpu, 2)?, Tensor::new(gpu, &AT_REST)?);
    let params = Params { quads: quads(d), square_quads, limit };
    submit(gpu, |recording| {
        let bindings = Bindings {
            block_squares: &block_squares,
            b_dec_gradient: &b_dec_gradient,
            clip: &clip,
            guard: &guard,
            params,
        };
        kernel.record(recording, bindings);
    })?;
    Ok((clip.read()?, guard.read()?))
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = Clip::new(checker.gpu)?;
    let mut values = checker.compare("clip", FOLD);
    let mut guards = checker.compare("clip.guard", 0.0);
    for (blocks, d) in [(0, 1), (3, 127), (129, 5), (5000, 768)] {
        let squares: Vec<f32> = random(1, blocks).into_iter().map(f32::abs).collect();
        let mut b_dec = random(2, d);
        for limit in [0.0, 1.0, 1e6] {
            let (actual, guard) = clip(checker.gpu, &kernel, &squares, &b_dec, limit)?;
            let expected = reference::clip(&f64s(&squares), &f64s(&b_dec), (limit > 0.0).then_some(f64::from(limit)));
            values.close((blocks, d, limit, "norm"), &actual[..1], &[expected.norm]);
            values.close((blocks, d, limit, "coefficient"), &actual[1..], &[expected.coefficient]);
            guards.equal((blocks, d, limit), &guard, &AT_REST);
        }
        b_dec[d - 1] = f32::NAN;
        let (_, guard) = clip(checker.gpu, &kernel, &squares, &b_dec, 1.0)?;
        guards.equal((blocks, d, "NaN"), &guard[..1], &[GRADIENT_NOT_FINITE]);
    }
    Ok(vec![values.done(), guards.done()])
}
