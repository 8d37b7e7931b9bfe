use super::check::{Check, Checker, FOLD};
use super::tensors::{HostCodes, Tensor, cuts, f64s, pad, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::code_gradients::{Params, main::Bindings};
use crate::kernels::{CodeGradients, quads};
use crate::reference;

/// Gradients at the codes, shard by shard; `cuts` are the shards' ends.
pub fn code_gradients(
    gpu: &Gpu,
    kernel: &CodeGradients,
    codes: &HostCodes,
    g: &[f32],
    w_dec: &[f32],
    d: usize,
    cuts: &[usize],
) -> Result<Vec<f32>> {
    let (features, values) = (Tensor::new(gpu, &codes.features)?, Tensor::new(gpu, &codes.values)?);
    let (gradient, code_gradients) =
        (Tensor::new(gpu, &pad(g, d))?, Tensor::new(gpu, &vec![0_f32; codes.values.len()])?);
    let mut first = 0;
    for &end in cuts {
        let w_dec = Tensor::new(gpu, &pad(&w_dec[first * d..end * d], d))?;
        let params = Params {
            entries: codes.values.len() as u32,
            quads: quads(d),
            k: codes.k as u32,
            first: first as u32,
            count: (end - first) as u32,
        };
        submit(gpu, |recording| {
            let bindings = Bindings {
                features: &features,
                values: &values,
                gradient: &gradient,
                w_dec: &w_dec,
                code_gradients: &code_gradients,
                params,
            };
            kernel.record(recording, bindings);
        })?;
        first = end;
    }
    code_gradients.read()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = CodeGradients::new(checker.gpu)?;
    let mut values = checker.compare("code_gradients", FOLD);
    for (rows, d, n, k) in [(1, 1, 1, 1), (9, 17, 2500, 7), (64, 100, 2500, 1), (65, 768, 1100, 3)] {
        let codes = HostCodes::random(1, rows, n, k, false);
        let (g, w_dec) = (random(2, rows * d), random(3, n * d));
        let expected = reference::code_gradients(&codes.reference(), &f64s(&g), &f64s(&w_dec), d);
        for cuts in cuts(n) {
            let actual = code_gradients(checker.gpu, &kernel, &codes, &g, &w_dec, d, &cuts)?;
            values.close((rows, d, n, k, &cuts), &actual, &expected);
        }
    }
    Ok(vec![values.done()])
}
