use monosem::gpu::shaders::update::{Params, bias, features};
use monosem::gpu::shaders::{Clip, Step};
use monosem::kernels::{Update, quads};
use monosem::reference::{self, Adam, adam};

use super::{
    AT_REST, DeviceRuns, HostCodes, Tensor, assert_close, deterministic, f32s, f64s, gpu, pad, random, run, stored,
    unpad,
};

/// Largest difference after three steps: a step of Adam is lr · m / sqrt(v), and lr is 1e-3 of the parameters, so even
/// gradients that cancelled to 1e-4 of their terms leave no more than this.
const PARAMETERS: f64 = 2e-6;

/// The same for the moments, which hold folds of up to 600 terms and their squares.
const MOMENTS: f64 = 1e-5;

const ADAM: Adam = Adam { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step: 0 };

const EPSILON: f64 = f32::EPSILON as f64;

fn device_step(step: u64) -> Step {
    let Adam { lr, beta1, beta2, epsilon, .. } = ADAM;
    Step {
        number: step as u32,
        learning_rate: (lr / (1.0 - beta1.powf(step as f64))) as f32,
        second_correction: (1.0 / (1.0 - beta2.powf(step as f64)).sqrt()) as f32,
        beta1: beta1 as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        epsilon: epsilon as f32,
    }
}

/// What one batch has to say, of which the code gradients depend on the decoder.
struct Batch {
    codes: HostCodes,
    runs: reference::Runs,
    centred: Vec<f32>,
    gradient: Vec<f32>,
}

impl Batch {
    fn new(seed: u64, rows: usize, d: usize, n: usize, k: usize) -> Self {
        let codes = HostCodes::random(seed, rows, n, k, true);
        let runs = reference::transpose(&codes.reference(), n);
        Self { codes, runs, centred: random(seed + 1, rows * d), gradient: random(seed + 2, rows * d) }
    }

    fn code_gradients(&self, w_dec: &[f64], d: usize) -> Vec<f32> {
        f32s(&reference::code_gradients(&self.codes.reference(), &f64s(&self.gradient), w_dec, d))
    }
}

/// The rows of one shard: encoder, decoder, b_enc, norms.
struct Shard {
    first: usize,
    count: usize,
    w_enc: [Tensor; 3],
    w_dec: [Tensor; 3],
    b_enc: Tensor,
    b_enc_moments: Tensor,
    norms: Tensor,
}

impl Shard {
    fn new(model: &Model, first: usize, end: usize) -> Self {
        let d = model.d;
        let part = |all: &[f64]| pad(&f32s(&all[first * d..end * d]), d);
        let moments: Vec<f32> =
            (first..end).flat_map(|at| [model.b_enc[1][at] as f32, model.b_enc[2][at] as f32]).collect();
        Self {
            first,
            count: end - first,
            w_enc: [0, 1, 2].map(|which| Tensor::new(&part(&model.w_enc[which]))),
            w_dec: [0, 1, 2].map(|which| Tensor::new(&part(&model.w_dec[which]))),
            b_enc: Tensor::new(&f32s(&model.b_enc[0][first..end])),
            b_enc_moments: Tensor::new(&moments),
            norms: Tensor::new(&f32s(&reference::norms(&model.w_dec[0][first * d..end * d], d))),
        }
    }

    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.w_enc.iter().chain(&self.w_dec).chain([&self.b_enc, &self.b_enc_moments, &self.norms])
    }

    fn update(
        &self,
        kernels: &Update,
        (d, n): (usize, usize),
        batch: &Batch,
        code_gradients: &[f32],
        (step, coefficient, unit_norm, guard): (u64, f32, bool, [u32; 2]),
    ) {
        let runs = DeviceRuns::new(&batch.runs, n);
        let (values, code_gradients) = (Tensor::new(&batch.codes.values), Tensor::new(code_gradients));
        let (centred, gradient) = (Tensor::new(&pad(&batch.centred, d)), Tensor::new(&pad(&batch.gradient, d)));
        let (clip, guard) = (Tensor::new(&[Clip { norm: 1.0, coefficient }]), Tensor::new(&guard));
        let step = Tensor::new(&[device_step(step)]);
        let params = Params {
            quads: quads(d),
            k: batch.codes.k as u32,
            first: self.first as u32,
            count: self.count as u32,
            unit_norm: unit_norm.into(),
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
                w_enc: &self.w_enc[0],
                m_w_enc: &self.w_enc[1],
                v_w_enc: &self.w_enc[2],
                w_dec: &self.w_dec[0],
                m_w_dec: &self.w_dec[1],
                v_w_dec: &self.w_dec[2],
                b_enc: &self.b_enc,
                b_enc_moments: &self.b_enc_moments,
                norms: &self.norms,
                clip: &clip,
                guard: &guard,
                step: &step,
                params,
            };
            kernels.record_features(recording, bindings);
        });
    }
}

/// Parameters and both moments, of each.
struct Model {
    d: usize,
    w_enc: [Vec<f64>; 3],
    w_dec: [Vec<f64>; 3],
    b_enc: [Vec<f64>; 3],
}

impl Model {
    fn new(d: usize, n: usize, unit_norm: bool) -> Self {
        let with_moments = |values: Vec<f64>| [values.clone(), vec![0.0; values.len()], vec![0.0; values.len()]];
        let mut w_dec = f64s(&random(11, n * d));
        if unit_norm {
            reference::unit_norm(&mut w_dec, d, EPSILON);
            w_dec = f64s(&f32s(&w_dec));
        }
        Self {
            d,
            w_enc: with_moments(f64s(&random(10, n * d))),
            w_dec: with_moments(w_dec),
            b_enc: with_moments(f64s(&random(12, n))),
        }
    }

    fn update(&mut self, batch: &Batch, code_gradients: &[f32], step: u64, coefficient: f64, unit_norm: bool) {
        let (d, n) = (self.d, self.b_enc[0].len());
        let (centred, g) = (f64s(&batch.centred), f64s(&batch.gradient));
        let norms = reference::norms(&self.w_dec[0], d);
        let (runs, codes, s) = (&batch.runs, &batch.codes.reference(), &f64s(code_gradients));
        let active = reference::gradients(runs, codes, s, &centred, &g, &self.w_dec[0], &norms, d, unit_norm);
        let settings = Adam { step, ..ADAM };
        let dense = |rows: &[f64], width: usize| {
            let mut all = vec![0.0; n * width];
            for (feature, row) in runs.features.iter().zip(rows.chunks_exact(width)) {
                all[*feature as usize * width..][..width].copy_from_slice(row);
            }
            all
        };
        for ([parameter, m, v], gradient) in [
            (&mut self.w_enc, dense(&active.w_enc, d)),
            (&mut self.w_dec, dense(&active.w_dec, d)),
            (&mut self.b_enc, dense(&active.b_enc, 1)),
        ] {
            adam(parameter, m, v, &gradient, coefficient, &settings);
        }
        if unit_norm {
            reference::unit_norm(&mut self.w_dec[0], d, EPSILON);
        }
    }
}

#[test]
fn three_steps_match_the_reference() {
    let kernels = Update::new(gpu()).unwrap();
    for (rows, d, n, k, unit_norm) in [
        (1_usize, 1, 1, 1, false),
        (20, 2, 130, 3, true),
        (257, 127, 60, 3, false),
        (257, 128, 61, 3, true),
        (600, 33, 1100, 4, false),
        (600, 33, 1100, 4, true),
        (12, 385, 70, 9, true),
        (9, 800, 40, 2, false),
        (9, 800, 40, 2, true),
    ] {
        for coefficient in [1.0, 0.125] {
            let mut model = Model::new(d, n, unit_norm);
            let cuts = if n > 1024 { vec![0, 1024, n] } else { vec![0, n] };
            let shards: Vec<_> = cuts.windows(2).map(|cut| Shard::new(&model, cut[0], cut[1])).collect();
            for step in 1..=3 {
                // Fewer rows each time: what was active becomes inactive.
                let batch = Batch::new(step, rows.div_ceil(step as usize), d, n, k);
                let s = batch.code_gradients(&model.w_dec[0], d);
                for shard in &shards {
                    shard.update(&kernels, (d, n), &batch, &s, (step, coefficient, unit_norm, AT_REST));
                }
                model.update(&batch, &s, step, coefficient.into(), unit_norm);
            }
            let of = |tensor: &dyn Fn(&Shard) -> Vec<f32>| shards.iter().flat_map(tensor).collect::<Vec<f32>>();
            let name = |what: &str| format!("update {what} {rows} x {d} of {n}, unit norm {unit_norm}, {coefficient}");
            let norms = reference::norms(&model.w_dec[0], d);
            for (what, which, tolerance) in [("", 0, PARAMETERS), ("m", 1, MOMENTS), ("v", 2, MOMENTS)] {
                let w_enc = of(&|shard| unpad(&shard.w_enc[which].read::<f32>(), d));
                let w_dec = of(&|shard| unpad(&shard.w_dec[which].read::<f32>(), d));
                assert_close(&name(&format!("w_enc {what}")), &w_enc, &model.w_enc[which], tolerance);
                assert_close(&name(&format!("w_dec {what}")), &w_dec, &model.w_dec[which], tolerance);
            }
            let moment = |which| of(&|shard| shard.b_enc_moments.read::<f32>().chunks(2).map(|m| m[which]).collect());
            assert_close(&name("b_enc"), &of(&|shard| shard.b_enc.read()), &model.b_enc[0], PARAMETERS);
            assert_close(&name("b_enc m"), &moment(0), &model.b_enc[1], MOMENTS);
            assert_close(&name("b_enc v"), &moment(1), &model.b_enc[2], MOMENTS);
            assert_close(&name("norms"), &of(&|shard| shard.norms.read()), &norms, PARAMETERS);
        }
    }
}

#[test]
fn the_same_bits_every_time_and_in_any_shards() {
    let kernels = Update::new(gpu()).unwrap();
    let (d, n) = (50, 1100);
    let batch = Batch::new(1, 600, d, n, 6);
    let update = |cuts: &[usize], which: usize| {
        let model = Model::new(d, n, true);
        let s = batch.code_gradients(&model.w_dec[0], d);
        let shards = cuts.windows(2).map(|cut| Shard::new(&model, cut[0], cut[1]));
        let tensors = shards.flat_map(|shard| {
            shard.update(&kernels, (d, n), &batch, &s, (1, 0.5, true, AT_REST));
            shard.tensors().nth(which).unwrap().read::<u32>()
        });
        tensors.collect::<Vec<_>>()
    };
    for which in 0..9 {
        let whole = deterministic(|| update(&[0, n], which));
        assert!(update(&[0, 1024, n], which) == whole, "tensor {which}");
    }
}

#[test]
fn a_raised_guard_keeps_every_bit() {
    let kernels = Update::new(gpu()).unwrap();
    let (d, n) = (20, 65);
    let batch = Batch::new(1, 30, d, n, 3);
    for unit_norm in [false, true] {
        let model = Model::new(d, n, unit_norm);
        let shard = Shard::new(&model, 0, n);
        let all = || shard.tensors().map(Tensor::read::<u32>).collect::<Vec<_>>();
        let before = all();
        let s = batch.code_gradients(&model.w_dec[0], d);
        for status in [1, 2, 4] {
            shard.update(&kernels, (d, n), &batch, &s, (1, 1.0, unit_norm, [status, 0]));
            assert!(all() == before, "unit norm {unit_norm}, guard {status}");
        }
        shard.update(&kernels, (d, n), &batch, &s, (1, 1.0, unit_norm, AT_REST));
        assert!(all() != before);
    }
}

#[test]
fn the_decoder_bias_matches_the_reference() {
    let kernels = Update::new(gpu()).unwrap();
    for d in [1, 17, 255, 256, 257, 800] {
        let mut model = [f64s(&random(1, d)), vec![0.0; d], vec![0.0; d]];
        let tensors = [0, 1, 2].map(|which| Tensor::new(&pad(&f32s(&model[which]), d)));
        let update = |gradient: &[f32], step: u64, guard: [u32; 2]| {
            let (gradient, guard) = (Tensor::new(&pad(gradient, d)), Tensor::new(&guard));
            let (clip, step) =
                (Tensor::new(&[Clip { norm: 1.0, coefficient: 0.5 }]), Tensor::new(&[device_step(step)]));
            let params = Params { quads: stored(d) as u32 / 4, ..Default::default() };
            run(|recording| {
                let bindings = bias::Bindings {
                    b_dec: &tensors[0],
                    m_b_dec: &tensors[1],
                    v_b_dec: &tensors[2],
                    b_dec_gradient: &gradient,
                    clip: &clip,
                    guard: &guard,
                    step: &step,
                    params,
                };
                kernels.record_bias(recording, bindings);
            });
        };
        for step in 1..=3 {
            let gradient = random(20 + step, d);
            update(&gradient, step, AT_REST);
            let [parameter, m, v] = &mut model;
            adam(parameter, m, v, &f64s(&gradient), 0.5, &Adam { step, ..ADAM });
        }
        let read = || [0, 1, 2].map(|which| tensors[which].read::<f32>());
        let after = read();
        for (which, tolerance) in [(0, PARAMETERS), (1, MOMENTS), (2, MOMENTS)] {
            let name = format!("update b_dec {which}, d {d}");
            assert_close(&name, &unpad(&after[which], d), &model[which], tolerance);
        }
        update(&random(30, d), 4, [2, 0]);
        assert_eq!(read(), after, "the guard is raised");
    }
}
