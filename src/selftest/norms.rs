use super::check::{Check, Checker, FOLD};
use super::tensors::{Tensor, f64s, pad, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::norms::{Params, main::Bindings};
use crate::kernels::{Norms, quads};
use crate::reference;

pub fn norms(gpu: &Gpu, kernel: &Norms, w_dec: &[f32], d: usize, count: usize) -> Result<Vec<f32>> {
    let (w_dec, norms) = (Tensor::new(gpu, &pad(w_dec, d))?, Tensor::poisoned(gpu, count)?);
    let params = Params { count: count as u32, quads: quads(d) };
    submit(gpu, |recording| kernel.record(recording, Bindings { w_dec: &w_dec, norms: &norms, params }))?;
    norms.read()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = Norms::new(checker.gpu)?;
    let mut values = checker.compare("norms", FOLD);
    for (count, d) in [(1, 1), (2, 127), (3, 128), (65, 768)] {
        let w_dec = random(1, count * d);
        let actual = norms(checker.gpu, &kernel, &w_dec, d, count)?;
        values.close((count, d), &actual, &reference::norms(&f64s(&w_dec), d));
    }
    Ok(vec![values.done()])
}
