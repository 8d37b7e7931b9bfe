use monosem::gpu::shaders::gradients::{Params, blocks, features};
use monosem::kernels::{BLOCK_FEATURES, Gradients, quads};
use monosem::reference;

use super::{
    DeviceRuns, FOLD, HostCodes, Tensor, assert_close, bits, deterministic, f32s, f64s, gpu, pad, random, rule_b,
    rule_r, run,
};

struct Case {
    d: usize,
    n: usize,
    codes: HostCodes,
    runs: reference::Runs,
    code_gradients: Vec<f32>,
    centred: Vec<f32>,
    gradient: Vec<f32>,
    w_dec: Vec<f32>,
    norms: Vec<f32>,
}

impl Case {
    fn new(rows: usize, d: usize, n: usize, k: usize) -> Self {
        let codes = HostCodes::random(1, rows, n, k, true);
        let (centred, gradient, w_dec) = (random(2, rows * d), random(3, rows * d), random(4, n * d));
        // The projection takes the code gradients for what they are: g · v.
        let code_gradients = f32s(&reference::code_gradients(&codes.reference(), &f64s(&gradient), &f64s(&w_dec), d));
        let norms = f32s(&reference::norms(&f64s(&w_dec), d));
        let runs = reference::transpose(&codes.reference(), n);
        Self { d, n, codes, runs, code_gradients, centred, gradient, w_dec, norms }
    }

    fn reference(&self, project: bool) -> reference::Gradients {
        let (s, centred, g) = (f64s(&self.code_gradients), f64s(&self.centred), f64s(&self.gradient));
        let (w_dec, norms) = (f64s(&self.w_dec), f64s(&self.norms));
        reference::gradients(&self.runs, &self.codes.reference(), &s, &centred, &g, &w_dec, &norms, self.d, project)
    }

    /// `b_enc`'s gradients and the squared norms of the runs, and the squares of the feature blocks.
    fn gradients(&self, kernels: &Gradients, project: bool, cuts: &[usize]) -> [Vec<f32>; 3] {
        let (n, d) = (self.n, self.d);
        let runs = DeviceRuns::new(&self.runs, n);
        let (values, code_gradients) = (Tensor::new(&self.codes.values), Tensor::new(&self.code_gradients));
        let (centred, gradient) = (Tensor::new(&pad(&self.centred, d)), Tensor::new(&pad(&self.gradient, d)));
        let count = self.runs.features.len();
        let (run_bias, run_squares) = (Tensor::poisoned(count), Tensor::poisoned(count));
        let block_squares = Tensor::poisoned(n.div_ceil(BLOCK_FEATURES as usize));
        let mut first = 0;
        for &end in cuts {
            let w_dec = Tensor::new(&pad(&self.w_dec[first * d..end * d], d));
            let norms = Tensor::new(&self.norms[first..end]);
            let params = Params {
                quads: quads(d),
                k: self.codes.k as u32,
                first: first as u32,
                blocks: ((end - first) as u32).div_ceil(BLOCK_FEATURES),
                project: project.into(),
            };
            run(|recording| {
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
            });
            first = end;
        }
        [run_bias.read(), run_squares.read(), block_squares.read()]
    }
}

#[test]
fn every_size_matches_the_reference_and_shards_give_the_bits_of_one() {
    let kernels = Gradients::new(gpu()).unwrap();
    // Feature 0 fires in every row: 256, 257 and 600 rows are one, two and three blocks.
    for (rows, d, n, k) in [
        (0, 4, 8, 1),
        (1, 1, 1, 1),
        (7, 127, 100, 5),
        (256, 17, 1023, 3),
        (257, 128, 1024, 4),
        (600, 33, 3000, 8),
        (30, 385, 2049, 9),
        (9, 800, 2100, 2),
    ] {
        let case = Case::new(rows, d, n, k);
        for project in [false, true] {
            let expected = case.reference(project);
            let whole = case.gradients(&kernels, project, &[n]);
            let [run_bias, run_squares, block_squares] = &whole;
            let mut blocks = vec![0.0; block_squares.len()];
            for (feature, squared_norm) in case.runs.features.iter().zip(&expected.squared_norm) {
                blocks[(feature / BLOCK_FEATURES) as usize] += squared_norm;
            }
            let name = |what| format!("gradients {what} {rows} x {d} of {n}, projected {project}");
            assert_close(&name("bias"), run_bias, &expected.b_enc, FOLD);
            assert_close(&name("squares"), run_squares, &expected.squared_norm, FOLD);
            assert_close(&name("blocks"), block_squares, &blocks, FOLD);
            if n > 2048 {
                let shards = case.gradients(&kernels, project, &[1024, 2048, n]);
                assert_eq!(shards.map(|values| bits(&values)), whole.map(|values| bits(&values)));
            }
        }
    }
}

#[test]
fn the_same_bits_every_time() {
    let kernels = Gradients::new(gpu()).unwrap();
    let case = Case::new(600, 50, 1500, 6);
    deterministic(|| bits(&case.gradients(&kernels, true, &[1500]).concat()));
}

#[test]
fn sums_are_folded_by_rules_b_and_f() {
    let kernels = Gradients::new(gpu()).unwrap();
    let case = Case::new(1000, 20, 1500, 3);
    let [run_bias, run_squares, block_squares] = case.gradients(&kernels, false, &[1500]);
    let biases = case.runs.iter().map(|(_, entries)| {
        rule_b(entries.iter().map(|entry| (*entry as usize / case.codes.k, case.code_gradients[*entry as usize])))
    });
    assert_eq!(bits(&run_bias), bits(&biases.collect::<Vec<_>>()));
    let mut squares = vec![0.0; 2 * BLOCK_FEATURES as usize];
    for (feature, square) in case.runs.features.iter().zip(run_squares) {
        squares[*feature as usize] = square;
    }
    let blocks: Vec<f32> =
        squares.chunks(BLOCK_FEATURES as usize).map(|block| rule_r(block, &vec![1.0; block.len()])).collect();
    assert_eq!(bits(&block_squares), bits(&blocks));
}
