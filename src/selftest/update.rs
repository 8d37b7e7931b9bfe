use half::bf16;

use super::check::{Check, Checker};
use super::tensors::{
    AT_REST, DeviceRuns, HostCodes, Tensor, bits, cuts, f32s, f64s, pad, random, stored, submit, unpad,
};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::update::{Params, bias, features};
use crate::gpu::shaders::{Clip, Step};
use crate::kernels::{Update, quads};
use crate::reference::{self, Adam, adam};
use crate::rng::{Purpose, Rng};

/// Largest difference after three steps: a step of Adam is lr · m / sqrt(v), and lr is 1e-3 of the parameters, so even
/// gradients that cancelled to 1e-4 of their terms leave no more than this.
pub const PARAMETERS: f64 = 2e-6;

/// The same for the moments, which hold folds of up to 600 terms and their squares.
pub const MOMENTS: f64 = 1e-5;

pub const ADAM: Adam = Adam { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step: 0 };

/// Seed of the rounding of moments in bf16.
pub const ROUNDING_SEED: u64 = 0x0123_4567_89ab_cdef;

const EPSILON: f64 = f32::EPSILON as f64;

pub fn device_step(step: u64) -> Step {
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
pub struct Batch {
    pub codes: HostCodes,
    pub runs: reference::Runs,
    pub centred: Vec<f32>,
    pub gradient: Vec<f32>,
}

impl Batch {
    pub fn new(seed: u64, rows: usize, d: usize, n: usize, k: usize) -> Self {
        let codes = HostCodes::random(seed, rows, n, k, true);
        let runs = reference::transpose(&codes.reference(), n);
        Self { codes, runs, centred: random(seed + 1, rows * d), gradient: random(seed + 2, rows * d) }
    }

    pub fn code_gradients(&self, w_dec: &[f64], d: usize) -> Vec<f32> {
        f32s(&reference::code_gradients(&self.codes.reference(), &f64s(&self.gradient), w_dec, d))
    }
}

/// The rows of one shard: encoder, decoder, b_enc, norms.
pub struct Shard<'g> {
    gpu: &'g Gpu,
    first: usize,
    count: usize,
    pub w_enc: [Tensor<'g>; 3],
    pub w_dec: [Tensor<'g>; 3],
    pub b_enc: Tensor<'g>,
    pub b_enc_moments: Tensor<'g>,
    pub norms: Tensor<'g>,
}

impl<'g> Shard<'g> {
    pub fn new(gpu: &'g Gpu, model: &Model, first: usize, end: usize) -> Result<Self> {
        let d = model.d;
        let tensor = |all: &[f64]| Tensor::new(gpu, &pad(&f32s(&all[first * d..end * d]), d));
        let tensors = |[a, b, c]: &[Vec<f64>; 3]| Ok([tensor(a)?, tensor(b)?, tensor(c)?]);
        let moments: Vec<f32> =
            (first..end).flat_map(|at| [model.b_enc[1][at] as f32, model.b_enc[2][at] as f32]).collect();
        Ok(Self {
            gpu,
            first,
            count: end - first,
            w_enc: tensors(&model.w_enc)?,
            w_dec: tensors(&model.w_dec)?,
            b_enc: Tensor::new(gpu, &f32s(&model.b_enc[0][first..end]))?,
            b_enc_moments: Tensor::new(gpu, &moments)?,
            norms: Tensor::new(gpu, &f32s(&reference::norms(&model.w_dec[0][first * d..end * d], d)))?,
        })
    }

    /// The same with moments in bf16, which must hold them exactly.
    pub fn with_bf16_moments(gpu: &'g Gpu, model: &Model, first: usize, end: usize) -> Result<Self> {
        let d = model.d;
        let packed = |all: &[f64]| {
            let padded = pad(&f32s(&all[first * d..end * d]), d);
            Tensor::new(gpu, &padded.iter().map(|&value| bf16::from_f32(value).to_bits()).collect::<Vec<_>>())
        };
        let mut shard = Self::new(gpu, model, first, end)?;
        for (tensors, model) in [(&mut shard.w_enc, &model.w_enc), (&mut shard.w_dec, &model.w_dec)] {
            (tensors[1], tensors[2]) = (packed(&model[1])?, packed(&model[2])?);
        }
        Ok(shard)
    }

    pub fn tensors(&self) -> impl Iterator<Item = &Tensor<'g>> {
        self.w_enc.iter().chain(&self.w_dec).chain([&self.b_enc, &self.b_enc_moments, &self.norms])
    }

    pub fn update(
        &self,
        kernels: &Update,
        (d, n): (usize, usize),
        batch: &Batch,
        code_gradients: &[f32],
        (step, coefficient, unit_norm, guard): (u64, f32, bool, [u32; 2]),
    ) -> Result<()> {
        let gpu = self.gpu;
        let runs = DeviceRuns::new(gpu, &batch.runs, n)?;
        let (values, code_gradients) = (Tensor::new(gpu, &batch.codes.values)?, Tensor::new(gpu, code_gradients)?);
        let (centred, gradient) =
            (Tensor::new(gpu, &pad(&batch.centred, d))?, Tensor::new(gpu, &pad(&batch.gradient, d))?);
        let (clip, guard) = (Tensor::new(gpu, &[Clip { norm: 1.0, coefficient }])?, Tensor::new(gpu, &guard)?);
        let step = Tensor::new(gpu, &[device_step(step)])?;
        let params = Params {
            quads: quads(d),
            k: batch.codes.k as u32,
            first: self.first as u32,
            count: self.count as u32,
            unit_norm: unit_norm.into(),
            seed_low: ROUNDING_SEED as u32,
            seed_high: (ROUNDING_SEED >> 32) as u32,
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
                step: (&step).into(),
                params,
            };
            kernels.record_features(recording, bindings);
        })
    }
}

/// Parameters and both moments, of each.
#[derive(Clone)]
pub struct Model {
    pub d: usize,
    pub w_enc: [Vec<f64>; 3],
    pub w_dec: [Vec<f64>; 3],
    pub b_enc: [Vec<f64>; 3],
}

impl Model {
    pub fn new(d: usize, n: usize, unit_norm: bool) -> Self {
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

    pub fn update(&mut self, batch: &Batch, code_gradients: &[f32], step: u64, coefficient: f64, unit_norm: bool) {
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

/// What three steps left on the device, and what they should have.
pub struct Updated {
    pub what: &'static str,
    pub actual: Vec<f32>,
    pub expected: Vec<f64>,
    pub tolerance: f64,
}

/// Three steps of `features`, from `rows` rows on fewer each time: what was active becomes inactive.
pub fn three_steps(
    gpu: &Gpu,
    kernels: &Update,
    (rows, d, n, k): (usize, usize, usize, usize),
    (coefficient, unit_norm): (f32, bool),
    cuts: &[usize],
) -> Result<Vec<Updated>> {
    let mut model = Model::new(d, n, unit_norm);
    let firsts = std::iter::once(0).chain(cuts.iter().copied());
    let shards: Vec<_> =
        firsts.zip(cuts).map(|(first, end)| Shard::new(gpu, &model, first, *end)).collect::<Result<_>>()?;
    for step in 1..=3 {
        let batch = Batch::new(step, rows.div_ceil(step as usize), d, n, k);
        let s = batch.code_gradients(&model.w_dec[0], d);
        for shard in &shards {
            shard.update(kernels, (d, n), &batch, &s, (step, coefficient, unit_norm, AT_REST))?;
        }
        model.update(&batch, &s, step, coefficient.into(), unit_norm);
    }
    let of = |tensor: &dyn Fn(&Shard<'_>) -> Result<Vec<f32>>| -> Result<Vec<f32>> {
        Ok(shards.iter().map(tensor).collect::<Result<Vec<_>>>()?.concat())
    };
    let moment = |which| {
        of(&|shard| Ok(shard.b_enc_moments.read::<[f32; 2]>()?.into_iter().map(|moments| moments[which]).collect()))
    };
    let norms = reference::norms(&model.w_dec[0], d);
    let mut updated = Vec::new();
    let mut add = |what, actual, expected: &[f64], tolerance| {
        updated.push(Updated { what, actual, expected: expected.to_vec(), tolerance });
    };
    let names = [("w_enc", "w_dec"), ("w_enc m", "w_dec m"), ("w_enc v", "w_dec v")];
    for (which, (w_enc, w_dec)) in names.into_iter().enumerate() {
        let tolerance = if which == 0 { PARAMETERS } else { MOMENTS };
        add(w_enc, of(&|shard| unpad(&shard.w_enc[which].read::<f32>()?, d))?, &model.w_enc[which], tolerance);
        add(w_dec, of(&|shard| unpad(&shard.w_dec[which].read::<f32>()?, d))?, &model.w_dec[which], tolerance);
    }
    add("b_enc", of(&|shard| shard.b_enc.read())?, &model.b_enc[0], PARAMETERS);
    add("b_enc m", moment(0)?, &model.b_enc[1], MOMENTS);
    add("b_enc v", moment(1)?, &model.b_enc[2], MOMENTS);
    add("norms", of(&|shard| shard.norms.read())?, &norms, PARAMETERS);
    Ok(updated)
}

/// `b_dec` and its moments on the device.
pub struct DecoderBias<'g> {
    gpu: &'g Gpu,
    d: usize,
    tensors: [Tensor<'g>; 3],
}

impl<'g> DecoderBias<'g> {
    pub fn new(gpu: &'g Gpu, b_dec: &[f32]) -> Result<Self> {
        let d = b_dec.len();
        let tensor = |values: &[f32]| Tensor::new(gpu, &pad(values, d));
        Ok(Self { gpu, d, tensors: [tensor(b_dec)?, tensor(&vec![0.0; d])?, tensor(&vec![0.0; d])?] })
    }

    pub fn update(
        &self,
        kernels: &Update,
        gradient: &[f32],
        (step, coefficient, guard): (u64, f32, [u32; 2]),
    ) -> Result<()> {
        let gpu = self.gpu;
        let (gradient, guard) = (Tensor::new(gpu, &pad(gradient, self.d))?, Tensor::new(gpu, &guard)?);
        let clip = Tensor::new(gpu, &[Clip { norm: 1.0, coefficient }])?;
        let step = Tensor::new(gpu, &[device_step(step)])?;
        let params = Params { quads: stored(self.d) as u32 / 4, ..Default::default() };
        submit(gpu, |recording| {
            let bindings = bias::Bindings {
                b_dec: &self.tensors[0],
                m_b_dec: &self.tensors[1],
                v_b_dec: &self.tensors[2],
                b_dec_gradient: &gradient,
                clip: &clip,
                guard: &guard,
                step: (&step).into(),
                params,
            };
            kernels.record_bias(recording, bindings);
        })
    }

    /// `b_dec` and its moments.
    pub fn read(&self) -> Result<[Vec<f32>; 3]> {
        let read = |tensor: &Tensor<'_>| unpad(&tensor.read::<f32>()?, self.d);
        Ok([read(&self.tensors[0])?, read(&self.tensors[1])?, read(&self.tensors[2])?])
    }
}

/// A step with moments in bf16 from `model`, against a step with moments in f32 whose results are then rounded on the host:
/// how many parameters, and how many moments of how many, differ.
pub fn bf16_differences(
    gpu: &Gpu,
    model: &Model,
    rows: usize,
    k: usize,
    step: u64,
    cuts: &[usize],
) -> Result<[usize; 3]> {
    let (d, n) = (model.d, model.b_enc[0].len());
    let (wide, narrow) = (Update::new(gpu, false)?, Update::new(gpu, true)?);
    let batch = Batch::new(step, rows, d, n, k);
    let s = batch.code_gradients(&model.w_dec[0], d);
    let settings = (step, 0.5, true, AT_REST);
    let expected = Shard::new(gpu, model, 0, n)?;
    expected.update(&wide, (d, n), &batch, &s, settings)?;
    let (mut parameters, mut moments, mut all) = (0, 0, 0);
    let firsts = std::iter::once(0).chain(cuts.iter().copied());
    for (first, &end) in firsts.zip(cuts) {
        let shard = Shard::with_bf16_moments(gpu, model, first, end)?;
        shard.update(&narrow, (d, n), &batch, &s, settings)?;
        let matrices = [(&shard.w_enc, &expected.w_enc), (&shard.w_dec, &expected.w_dec)];
        for (matrix, (actual, expected)) in (0..).zip(matrices) {
            let width = stored(d);
            let rows = first * width..end * width;
            parameters += unequal(&bits(&actual[0].read()?), &bits(&expected[0].read()?)[rows.clone()]);
            for moment in [1, 2] {
                let expected = expected[moment].read::<f32>()?[rows.clone()].to_vec();
                let round = |(at, &value): (usize, &f32)| {
                    let place = (first + at / width, at % width, matrix, moment == 2);
                    reference::stochastic_bf16(value, rounding_noise(step, place)).to_bits()
                };
                let expected: Vec<u16> = expected.iter().enumerate().map(round).collect();
                moments += unequal(&actual[moment].read::<u16>()?[..expected.len()], &expected);
                all += expected.len();
            }
        }
    }
    Ok([parameters, moments, all])
}

fn unequal<T: PartialEq>(actual: &[T], expected: &[T]) -> usize {
    assert_eq!(actual.len(), expected.len());
    actual.iter().zip(expected).filter(|(actual, expected)| actual != expected).count()
}

/// The 16 random bits for (feature, column, matrix, whether it is v).
fn rounding_noise(step: u64, (feature, column, matrix, is_v): (usize, usize, u32, bool)) -> u16 {
    let rng = Rng::new(ROUNDING_SEED, Purpose::Rounding);
    let words = rng.block(step << 32 | feature as u64, (column / 4) as u32 * 2 + matrix);
    let word = words[2 * usize::from(is_v) + column % 4 / 2];
    (word >> (16 * (column as u32 % 2))) as u16
}

/// A model whose moments are bf16 and not zero.
pub fn model_with_moments(d: usize, n: usize) -> Model {
    let mut model = Model::new(d, n, true);
    let narrow = |seed, scale: f32| -> Vec<f64> {
        random(seed, n * d).into_iter().map(|value| bf16::from_f32(value * scale).to_f64()).collect()
    };
    (model.w_enc[1], model.w_dec[1]) = (narrow(31, 1e-3), narrow(32, 1e-3));
    (model.w_enc[2], model.w_dec[2]) = (narrow(33, 1e-6), narrow(34, 1e-6));
    for v in model.w_enc[2].iter_mut().chain(&mut model.w_dec[2]) {
        *v = v.abs();
    }
    model
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernels = Update::new(checker.gpu, false)?;
    let mut parameters = checker.compare("update.parameters", PARAMETERS);
    let mut moments = checker.compare("update.moments", MOMENTS);
    for (shape, coefficient, unit_norm) in [
        ((1, 1, 1, 1), 1.0, false),
        ((257, 128, 61, 3), 0.125, true),
        ((300, 33, 1100, 4), 1.0, true),
        ((9, 800, 40, 2), 0.125, false),
    ] {
        for cuts in cuts(shape.2) {
            for updated in three_steps(checker.gpu, &kernels, shape, (coefficient, unit_norm), &cuts)? {
                let check = if updated.tolerance == PARAMETERS { &mut parameters } else { &mut moments };
                check.close((updated.what, shape, unit_norm, &cuts), &updated.actual, &updated.expected);
            }
        }
    }
    for d in [1, 17, 257] {
        let mut model = [f64s(&random(1, d)), vec![0.0; d], vec![0.0; d]];
        let bias = DecoderBias::new(checker.gpu, &f32s(&model[0]))?;
        for step in 1..=3 {
            let gradient = random(20 + step, d);
            bias.update(&kernels, &gradient, (step, 0.5, AT_REST))?;
            let [parameter, m, v] = &mut model;
            adam(parameter, m, v, &f64s(&gradient), 0.5, &Adam { step, ..ADAM });
        }
        let [parameter, m, v] = bias.read()?;
        parameters.close(("b_dec", d), &parameter, &model[0]);
        moments.close(("b_dec m", d), &m, &model[1]);
        moments.close(("b_dec v", d), &v, &model[2]);
    }
    let mut rounding = checker.compare("update.rounding", 0.0);
    for (d, n) in [(1, 1), (33, 1100), (130, 61)] {
        for cuts in cuts(n) {
            let [parameters, moments, _] =
                bf16_differences(checker.gpu, &model_with_moments(d, n), 50, n.min(3), 7, &cuts)?;
            rounding.equal((d, n, &cuts), &[parameters, moments], &[0, 0]);
        }
    }
    Ok(vec![parameters.done(), moments.done(), rounding.done()])
}
