use super::check::{Check, Checker, FOLD};
use super::tensors::{DeviceRuns, HostCodes, Tensor, cuts, f32s, f64s, pad, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::gradients::{Params, blocks, features};
use crate::kernels::{BLOCK_FEATURES, Gradients, quads};
use crate::reference;

pub struct Case {
    pub d: usize,
    pub n: usize,
    pub codes: HostCodes,
    pub runs: reference::Runs,
    pub code_gradients: Vec<f32>,
    pub centred: Vec<f32>,
    pub gradient: Vec<f32>,
    pub w_dec: Vec<f32>,
    pub norms: Vec<f32>,
}

impl Case {
    pub fn new(rows: usize, d: usize, n: usize, k: usize) -> Self {
        let codes = HostCodes::random(1, rows, n, k, true);
        let (centred, gradient, w_dec) = (random(2, rows * d), random(3, rows * d), random(4, n * d));
        // The projection takes the code gradients for what they are: g · v.
        let code_gradients = f32s(&reference::code_gradients(&codes.reference(), &f64s(&gradient), &f64s(&w_dec), d));
        let norms = f32s(&reference::norms(&f64s(&w_dec), d));
        let runs = reference::transpose(&codes.reference(), n);
        Self { d, n, codes, runs, code_gradients, centred, gradient, w_dec, norms }
    }

    /// `b_enc`'s gradients and the squared norms of the runs, and the squares of the feature blocks.
    pub fn expected(&self, project: bool) -> [Vec<f64>; 3] {
        let (s, centred, g) = (f64s(&self.code_gradients), f64s(&self.centred), f64s(&self.gradient));
        let (w_dec, norms) = (f64s(&self.w_dec), f64s(&self.norms));
        let codes = self.codes.reference();
        let gradients = reference::gradients(&self.runs, &codes, &s, &centred, &g, &w_dec, &norms, self.d, project);
        let mut blocks = vec![0.0; self.n.div_ceil(BLOCK_FEATURES as usize)];
        for (feature, squared_norm) in self.runs.features.iter().zip(&gradients.squared_norm) {
            blocks[(feature / BLOCK_FEATURES) as usize] += squared_norm;
        }
        [gradients.b_enc, gradients.squared_norm, blocks]
    }

    /// The same on the device, shard by shard; `cuts` are the shards' ends.
    pub fn gradients(&self, gpu: &Gpu, kernels: &Gradients, project: bool, cuts: &[usize]) -> Result<[Vec<f32>; 3]> {
        let (n, d) = (self.n, self.d);
        let runs = DeviceRuns::new(gpu, &self.runs, n)?;
        let (values, code_gradients) = (Tensor::new(gpu, &self.codes.values)?, Tensor::new(gpu, &self.code_gradients)?);
        let (centred, gradient) =
            (Tensor::new(gpu, &pad(&self.centred, d))?, Tensor::new(gpu, &pad(&self.gradient, d))?);
        let count = self.runs.features.len();
        let (run_bias, run_squares) = (Tensor::poisoned(gpu, count)?, Tensor::poisoned(gpu, count)?);
        let block_squares = Tensor::poisoned(gpu, n.div_ceil(BLOCK_FEATURES as usize))?;
        let mut first = 0;
        for &end in cuts {
            let w_dec = Tensor::new(gpu, &pad(&self.w_dec[first * d..end * d], d))?;
            let norms = Tensor::new(gpu, &self.norms[first..end])?;
            let params = Params {
                quads: quads(d),
                k: self.codes.k as u32,
                first: first as u32,
                blocks: ((end - first) as u32).div_ceil(BLOCK_FEATURES),
                project: project.into(),
            };
            submit(gpu, |recording| {
                let bindings = features::Bindings {
                    run_features: &runs.features,
                    run_starts: &runs.starts,
                    run_entries: &runs.entries,
                    block_bounds: &runs.block_bounds,
                    values: &values,
                    code_gradients: &code_gradients,
                    centred: &centred,
                    gradient: &gradient,
                    w_dec: &w_dec,
                    norms: &norms,
                    run_bias: &run_bias,
                    run_squares: &run_squares,
                    params,
                };
                kernels.record_features(recording, bindings, count as u32 + 10);
                let bindings = blocks::Bindings {
                    run_features: &runs.features,
                    block_bounds: &runs.block_bounds,
                    run_squares: &run_squares,
                    block_squares: &block_squares,
                    params,
                };
                kernels.record_blocks(recording, bindings);
            })?;
            first = end;
        }
        Ok([run_bias.read()?, run_squares.read()?, block_squares.read()?])
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernels = Gradients::new(checker.gpu)?;
    let mut features = checker.compare("gradients.features", FOLD);
    let mut blocks = checker.compare("gradients.blocks", FOLD);
    // Feature 0 fires in every row: 257 and 600 rows are two and three blocks.
    for (rows, d, n, k) in [(1, 1, 1, 1), (257, 128, 1024, 4), (600, 33, 2100, 8), (9, 800, 1025, 2)] {
        let case = Case::new(rows, d, n, k);
        for project in [false, true] {
            let expected = case.expected(project);
            for cuts in cuts(n) {
                let [bias, squares, block_squares] = case.gradients(checker.gpu, &kernels, project, &cuts)?;
                let what = (rows, d, n, k, project, &cuts);
                features.close((what, "bias"), &bias, &expected[0]);
                features.close((what, "squares"), &squares, &expected[1]);
                blocks.close(what, &block_squares, &expected[2]);
            }
        }
    }
    Ok(vec![features.done(), blocks.done()])
}
