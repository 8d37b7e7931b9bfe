use super::check::{Check, Checker, FOLD};
use super::tensors::{HostCodes, Tensor, cuts, f64s, pad, random, stored, submit, unpad};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::decode::{Params, main::Bindings};
use crate::kernels::{Decode, quads};
use crate::reference;

pub struct Case {
    pub codes: HostCodes,
    pub rows: usize,
    pub d: usize,
    pub w_dec: Vec<f32>,
    pub b_dec: Vec<f32>,
}

impl Case {
    pub fn new(rows: usize, d: usize, n: usize, k: usize) -> Self {
        let codes = HostCodes::random(1, rows, n, k, false);
        Self { codes, rows, d, w_dec: random(2, n * d), b_dec: random(3, d) }
    }

    pub fn expected(&self) -> Vec<f64> {
        reference::decode(&self.codes.reference(), &f64s(&self.w_dec), &f64s(&self.b_dec), self.d)
    }

    /// Reconstructions, shard by shard; `cuts` are the shards' ends.
    pub fn decode(&self, gpu: &Gpu, kernel: &Decode, cuts: &[usize]) -> Result<Vec<f32>> {
        let d = self.d;
        let (features, values) = (Tensor::new(gpu, &self.codes.features)?, Tensor::new(gpu, &self.codes.values)?);
        let (b_dec, reconstruction) =
            (Tensor::new(gpu, &pad(&self.b_dec, d))?, Tensor::poisoned(gpu, self.rows * stored(d))?);
        let mut first = 0;
        for &end in cuts {
            let w_dec = Tensor::new(gpu, &pad(&self.w_dec[first * d..end * d], d))?;
            let params = Params {
                rows: self.rows as u32,
                quads: quads(d),
                k: self.codes.k as u32,
                first: first as u32,
                count: (end - first) as u32,
            };
            submit(gpu, |recording| {
                let bindings = Bindings {
                    features: &features,
                    values: &values,
                    w_dec: &w_dec,
                    b_dec: &b_dec,
                    reconstruction: &reconstruction,
                    params,
                };
                kernel.record(recording, bindings);
            })?;
            first = end;
        }
        unpad(&reconstruction.read::<f32>()?, d)
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = Decode::new(checker.gpu)?;
    let mut values = checker.compare("decode", FOLD);
    for (rows, d, n, k) in [(1, 1, 1, 1), (1, 257, 2500, 7), (130, 17, 2500, 33), (20, 50, 40, 40)] {
        let case = Case::new(rows, d, n, k);
        let expected = case.expected();
        for cuts in cuts(n) {
            values.close((rows, d, n, k, &cuts), &case.decode(checker.gpu, &kernel, &cuts)?, &expected);
        }
    }
    Ok(vec![values.done()])
}
