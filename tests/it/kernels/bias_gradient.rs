use monosem::gpu::shaders::bias_gradient::{Params, blocks, finish, fold, rows};
use monosem::kernels::{BLOCK_FEATURES, BLOCK_ROWS, BiasGradient, quads};
use monosem::reference;

use super::{
    DeviceRuns, FOLD, HostCodes, Tensor, assert_close, bits, coarse, deterministic, f64s, gpu, pad, random, rule_b,
    run, stored, unpad,
};

struct Case {
    rows: usize,
    d: usize,
    n: usize,
    gradient: Vec<f32>,
    runs: reference::Runs,
    run_bias: Vec<f32>,
    w_enc: Vec<f32>,
}

impl Case {
    fn new(rows: usize, d: usize, n: usize, k: usize) -> Self {
        let runs = reference::transpose(&HostCodes::random(1, rows, n, k, false).reference(), n);
        let run_bias = random(3, runs.features.len());
        Self { rows, d, n, gradient: random(2, rows * d), runs, run_bias, w_enc: random(4, n * d) }
    }

    fn bias_gradient(&self, kernels: &BiasGradient, input_centred: bool, cuts: &[usize]) -> Vec<f32> {
        let d = self.d;
        let runs = DeviceRuns::new(&self.runs, self.n);
        let (gradient, run_bias) = (Tensor::new(&pad(&self.gradient, d)), Tensor::new(&self.run_bias));
        let row_blocks = Tensor::poisoned(self.rows.div_ceil(BLOCK_ROWS as usize) * stored(d));
        let shard_blocks = Tensor::poisoned(self.n.div_ceil(BLOCK_FEATURES as usize) * stored(d));
        let (encoder_part, b_dec_gradient) = (Tensor::poisoned(stored(d)), Tensor::poisoned(stored(d)));
        let params = |first: usize, end: usize| Params {
            rows: self.rows as u32,
            quads: quads(d),
            first: first as u32,
            blocks: ((end - first) as u32).div_ceil(BLOCK_FEATURES),
            input_centred: input_centred.into(),
        };
        run(|recording| {
            let bindings = rows::Bindings { gradient: &gradient, row_blocks: &row_blocks, params: params(0, 0) };
            kernels.record_rows(recording, bindings);
        });
        let mut first = 0;
        // What is not centred has no encoder's part: then it stays poison.
        for &end in cuts.iter().filter(|_| input_centred) {
            let w_enc = Tensor::new(&pad(&self.w_enc[first * d..end * d], d));
            let params = params(first, end);
            run(|recording| {
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
            });
            first = end;
        }
        run(|recording| {
            let bindings = finish::Bindings {
                row_blocks: &row_blocks,
                encoder_part: &encoder_part,
                b_dec_gradient: &b_dec_gradient,
                params: params(0, 0),
            };
            kernels.record_finish(recording, bindings);
        });
        unpad(&b_dec_gradient.read::<f32>(), d)
    }
}

#[test]
fn every_size_matches_the_reference_and_shards_give_the_bits_of_one() {
    let kernels = BiasGradient::new(gpu()).unwrap();
    for (rows, d, n, k) in [
        (1, 1, 1, 1),
        (255, 17, 40, 3),
        (256, 255, 1023, 2),
        (257, 256, 1024, 2),
        (600, 257, 1025, 3),
        (1100, 33, 3000, 8),
    ] {
        let case = Case::new(rows, d, n, k);
        for input_centred in [false, true] {
            let whole = case.bias_gradient(&kernels, input_centred, &[n]);
            let (g, db, w_enc) = (f64s(&case.gradient), f64s(&case.run_bias), f64s(&case.w_enc));
            let expected = reference::bias_gradient(&g, &case.runs, &db, &w_enc, d, input_centred);
            assert_close(&format!("bias_gradient {rows} x {d} of {n}, {input_centred}"), &whole, &expected, FOLD);
            if n > 2048 && input_centred {
                for cuts in [&[1024, 2048, n][..], &[2048, n], &[1024, n]] {
                    assert_eq!(bits(&case.bias_gradient(&kernels, true, cuts)), bits(&whole), "shards to {cuts:?}");
                }
            }
        }
    }
}

#[test]
fn the_same_bits_every_time() {
    let kernels = BiasGradient::new(gpu()).unwrap();
    let case = Case::new(600, 50, 1500, 6);
    deterministic(|| bits(&case.bias_gradient(&kernels, true, &[1024, 1500])));
}

#[test]
fn sums_are_folded_by_rules_b_and_f() {
    let kernels = BiasGradient::new(gpu()).unwrap();
    let mut case = Case::new(1000, 20, 3000, 3);
    (case.run_bias, case.w_enc) = (coarse(1, case.run_bias.len()), coarse(2, 3000 * 20));
    let mut expected = Vec::new();
    for column in 0..20 {
        let batch = rule_b((0..1000).map(|row| (row, case.gradient[row * 20 + column])));
        let mut blocks = [0_f32; 3];
        for (feature, bias) in case.runs.features.iter().zip(&case.run_bias) {
            let block = &mut blocks[(feature / BLOCK_FEATURES) as usize];
            *block = bias.mul_add(case.w_enc[*feature as usize * 20 + column], *block);
        }
        expected.push(batch - blocks.iter().fold(0.0, |sum, block| sum + block));
    }
    assert_eq!(bits(&case.bias_gradient(&kernels, true, &[3000])), bits(&expected));
}
