use super::check::{Check, Checker, FOLD};
use super::tensors::{DeviceRuns, HostCodes, Tensor, cuts, f64s, pad, random, stored, submit, unpad};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::bias_gradient::{Params, blocks, finish, fold, rows};
use crate::kernels::{BLOCK_FEATURES, BLOCK_ROWS, BiasGradient, quads};
use crate::reference;

pub struct Case {
    pub rows: usize,
    pub d: usize,
    pub n: usize,
    pub gradient: Vec<f32>,
    pub runs: reference::Runs,
    pub run_bias: Vec<f32>,
    pub w_enc: Vec<f32>,
}

impl Case {
    pub fn new(rows: usize, d: usize, n: usize, k: usize) -> Self {
        let runs = reference::transpose(&HostCodes::random(1, rows, n, k, false).reference(), n);
        let run_bias = random(3, runs.features.len());
        Self { rows, d, n, gradient: random(2, rows * d), runs, run_bias, w_enc: random(4, n * d) }
    }

    pub fn expected(&self, input_centred: bool) -> Vec<f64> {
        let (g, db, w_enc) = (f64s(&self.gradient), f64s(&self.run_bias), f64s(&self.w_enc));
        reference::bias_gradient(&g, &self.runs, &db, &w_enc, self.d, input_centred)
    }

    /// The gradient of `b_dec`, shard by shard; `cuts` are the shards' ends.
    pub fn bias_gradient(
        &self,
        gpu: &Gpu,
        kernels: &BiasGradient,
        input_centred: bool,
        cuts: &[usize],
    ) -> Result<Vec<f32>> {
        let d = self.d;
        let runs = DeviceRuns::new(gpu, &self.runs, self.n)?;
        let (gradient, run_bias) = (Tensor::new(gpu, &pad(&self.gradient, d))?, Tensor::new(gpu, &self.run_bias)?);
        let row_blocks = Tensor::poisoned(gpu, self.rows.div_ceil(BLOCK_ROWS as usize) * stored(d))?;
        let shard_blocks = Tensor::poisoned(gpu, self.n.div_ceil(BLOCK_FEATURES as usize) * stored(d))?;
        let (encoder_part, b_dec_gradient) = (Tensor::poisoned(gpu, stored(d))?, Tensor::poisoned(gpu, stored(d))?);
        let params = |first: usize, end: usize| Params {
            rows: self.rows as u32,
            quads: quads(d),
            first: first as u32,
            blocks: ((end - first) as u32).div_ceil(BLOCK_FEATURES),
            input_centred: input_centred.into(),
        };
        submit(gpu, |recording| {
            let bindings = rows::Bindings { gradient: &gradient, row_blocks: &row_blocks, params: params(0, 0) };
            kernels.record_rows(recording, bindings);
        })?;
        let mut first = 0;
        // What is not centred has no encoder's part: then it stays poison.
        for &end in cuts.iter().filter(|_| input_centred) {
            let w_enc = Tensor::new(gpu, &pad(&self.w_enc[first * d..end * d], d))?;
            let params = params(first, end);
            submit(gpu, |recording| {
                let blocks = blocks::Bindings {
                    run_features: &runs.features,
                    run_bias: &run_bias,
                    block_bounds: &runs.block_bounds,
                    w_enc: &w_enc,
                    shard_blocks: &shard_blocks,
                    params,
                };
                let fold = fold::Bindings { shard_blocks: &shard_blocks, encoder_part: &encoder_part, params };
                kernels.record_shard(recording, blocks, fold);
            })?;
            first = end;
        }
        submit(gpu, |recording| {
            let bindings = finish::Bindings {
                row_blocks: &row_blocks,
                encoder_part: &encoder_part,
                b_dec_gradient: &b_dec_gradient,
                params: params(0, 0),
            };
            kernels.record_finish(recording, bindings);
        })?;
        unpad(&b_dec_gradient.read::<f32>()?, d)
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernels = BiasGradient::new(checker.gpu)?;
    let mut values = checker.compare("bias_gradient", FOLD);
    for (rows, d, n, k) in [(1, 1, 1, 1), (256, 255, 1023, 2), (600, 33, 2100, 8)] {
        let case = Case::new(rows, d, n, k);
        for input_centred in [false, true] {
            let expected = case.expected(input_centred);
            for cuts in cuts(n) {
                let actual = case.bias_gradient(checker.gpu, &kernels, input_centred, &cuts)?;
                values.close((rows, d, n, k, input_centred, &cuts), &actual, &expected);
            }
        }
    }
    Ok(vec![values.done()])
}
