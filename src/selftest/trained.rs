//! The features of a model with their moments, on the device and in f64.

use std::ops::Range;

use half::bf16;

use super::hot::hot_sums;
use super::lists::Batch;
use super::tensors::{AT_REST, Scalars, Tensor, bits, f32s, f64s, floats, pad, planes, random, shards, submit, unpad};
use crate::engine::apply::{StepConstants, step_constants};
use crate::engine::planes::Plane;
use crate::engine::recipe::Recipe;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::update::{Params, decoder, encoder, own};
use crate::gpu::shaders::{Clip, Step};
use crate::kernels::{SumShape, quads};
use crate::reference::{self, Adam, adam, lists};

pub const ADAM: Adam = Adam { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step: 0 };

/// Seed of the rounding of moments in bf16.
pub const ROUNDING_SEED: u64 = 0x0123_4567_89ab_cdef;

const EPSILON: f64 = f32::EPSILON as f64;

/// The constants of a step of [`ADAM`].
pub fn device_step(step: u64) -> Step {
    let Adam { lr, beta1, beta2, epsilon, .. } = ADAM;
    let recipe = Recipe { beta1, beta2, epsilon, ..Recipe::top_k(1, 1, 1) };
    step_constants(&recipe, StepConstants { number: step as u32, learning_rate: lr, sparsity: 1.0 })
}

/// A tensor and its moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked<T> {
    pub values: Vec<T>,
    pub m: Vec<T>,
    pub v: Vec<T>,
}

impl Tracked<f64> {
    fn new(values: Vec<f64>) -> Self {
        let zeros = || vec![0.0; values.len()];
        Self { m: zeros(), v: zeros(), values }
    }

    /// As the device starts from it.
    fn narrow(&self) -> Tracked<f32> {
        Tracked { values: f32s(&self.values), m: f32s(&self.m), v: f32s(&self.v) }
    }

    fn step(&mut self, gradient: &[f64], coefficient: f64, settings: &Adam) {
        adam(&mut self.values, &mut self.m, &mut self.v, gradient, coefficient, settings);
    }
}

/// The features of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model<T> {
    pub d: usize,
    pub w_enc: Tracked<T>,
    pub w_dec: Tracked<T>,
    pub b_enc: Tracked<T>,
    pub norms: Vec<T>,
    /// Features that are marked.
    pub flawed: Vec<u32>,
}

/// What a step depends on besides.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub step: u64,
    pub coefficient: f32,
    pub unit_norm: bool,
    pub guard: [u32; 2],
    /// Whether the moments of matrices are bf16.
    pub bf16: bool,
    /// Workgroups of a dispatch.
    pub groups: u32,
}

impl Settings {
    pub fn of_step(step: u64) -> Self {
        Self { step, coefficient: 0.5, unit_norm: true, guard: AT_REST, bf16: false, groups: 7 }
    }
}

impl Model<f64> {
    pub fn new(d: usize, n: usize, unit_norm: bool) -> Self {
        let mut w_dec = f64s(&random(11, n * d));
        if unit_norm {
            reference::unit_norm(&mut w_dec, d, EPSILON);
            w_dec = f64s(&f32s(&w_dec));
        }
        Self {
            d,
            norms: reference::norms(&w_dec, d),
            w_enc: Tracked::new(f64s(&random(10, n * d))),
            w_dec: Tracked::new(w_dec),
            b_enc: Tracked::new(f64s(&random(12, n))),
            flawed: vec![0; n],
        }
    }

    /// One whose moments are bf16 and not zero.
    pub fn with_moments(d: usize, n: usize) -> Self {
        let mut model = Self::new(d, n, true);
        let narrow = |seed, scale: f32| -> Vec<f64> {
            random(seed, n * d).into_iter().map(|value| bf16::from_f32(value * scale).to_f64()).collect()
        };
        let positive = |values: Vec<f64>| values.into_iter().map(f64::abs).collect();
        (model.w_enc.m, model.w_dec.m) = (narrow(31, 1e-3), narrow(32, 1e-3));
        (model.w_enc.v, model.w_dec.v) = (positive(narrow(33, 1e-6)), positive(narrow(34, 1e-6)));
        model
    }

    pub fn narrow(&self) -> Model<f32> {
        Model {
            d: self.d,
            w_enc: self.w_enc.narrow(),
            w_dec: self.w_dec.narrow(),
            b_enc: self.b_enc.narrow(),
            norms: f32s(&self.norms),
            flawed: self.flawed.clone(),
        }
    }

    pub fn update(&mut self, batch: &Batch, settings: &Settings) {
        let (d, n, runs) = (self.d, self.flawed.len(), &batch.runs);
        let (centred, g0, g1) = (f64s(&batch.centred), f64s(&batch.gradients[0]), f64s(&batch.gradients[1]));
        let [mut w_enc, mut w_dec, mut b_enc] = [vec![0.0; n * d], vec![0.0; n * d], vec![0.0; n]];
        for (run, feature) in runs.features.iter().enumerate() {
            let (terms, feature) = (runs.reference(run), *feature as usize);
            let row = feature * d..(feature + 1) * d;
            let summary = lists::summary(&terms);
            w_enc[row.clone()].copy_from_slice(&lists::encoder_gradient(&terms, &centred, d));
            let mut gradient = lists::decoder_gradient(&terms, [&g0, &g1], d);
            if settings.unit_norm {
                lists::project(&mut gradient, &self.w_dec.values[row.clone()], summary.along);
            }
            w_dec[row].copy_from_slice(&gradient);
            b_enc[feature] = summary.slopes;
        }
        let of_step = Adam { step: settings.step, ..ADAM };
        let coefficient = settings.coefficient.into();
        self.w_enc.step(&w_enc, coefficient, &of_step);
        self.w_dec.step(&w_dec, coefficient, &of_step);
        self.b_enc.step(&b_enc, coefficient, &of_step);
        if settings.unit_norm {
            reference::unit_norm(&mut self.w_dec.values, d, EPSILON);
        }
        self.norms = reference::norms(&self.w_dec.values, d);
    }
}

/// A matrix of a shard on the device.
struct Matrix<'g> {
    values: Tensor<'g>,
    m: Tensor<'g>,
    v: Tensor<'g>,
    bf16: bool,
    d: usize,
}

impl<'g> Matrix<'g> {
    fn new(gpu: &'g Gpu, matrix: &Tracked<f32>, rows: Range<usize>, d: usize, bf16: bool) -> Result<Self> {
        let own = rows.start * d..rows.end * d;
        let moments = |values: &[f32]| {
            let padded = pad(&values[own.clone()], d);
            match bf16 {
                false => Tensor::new(gpu, &padded),
                true => {
                    let narrow = padded.iter().map(|value| bf16::from_f32(*value).to_bits());
                    Tensor::new(gpu, &narrow.collect::<Vec<u16>>())
                }
            }
        };
        let values = Tensor::new(gpu, &pad(&matrix.values[own.clone()], d))?;
        Ok(Self { values, m: moments(&matrix.m)?, v: moments(&matrix.v)?, bf16, d })
    }

    fn read_into(&self, matrix: &mut Tracked<f32>, rows: Range<usize>) -> Result<()> {
        let own = rows.start * self.d..rows.end * self.d;
        let moments = |tensor: &Tensor<'_>| -> Result<Vec<f32>> {
            if !self.bf16 {
                return tensor.read();
            }
            let narrow = tensor.read::<u16>()?;
            Ok(narrow.into_iter().map(|half| bf16::from_bits(half).to_f32()).collect())
        };
        matrix.values[own.clone()].copy_from_slice(&unpad(&self.values.read::<f32>()?, self.d)?);
        matrix.m[own.clone()].copy_from_slice(&unpad(&moments(&self.m)?, self.d)?);
        matrix.v[own].copy_from_slice(&unpad(&moments(&self.v)?, self.d)?);
        Ok(())
    }
}

impl Model<f32> {
    /// A step on the device.
    pub fn update(&mut self, gpu: &Gpu, batch: &Batch, settings: &Settings, cuts: &[usize]) -> Result<()> {
        self.update_of_shape(gpu, SumShape::best(gpu.description()), batch, settings, cuts)
    }

    /// The same in another shape than the adapter's.
    pub fn update_of_shape(
        &mut self,
        gpu: &Gpu,
        shape: SumShape,
        batch: &Batch,
        settings: &Settings,
        cuts: &[usize],
    ) -> Result<()> {
        let d = self.d;
        let own = [("BF16", settings.bf16.into())];
        let active = [&planes().defines()[..], &[batch.second()], &shape.defines(), &own].concat();
        let summed = [&planes().defines()[..], &shape.defines(), &own, &[("SUMMED", 1)]].concat();
        let encoders = [gpu.pipeline::<encoder::Kernel>(&active)?, gpu.pipeline(&summed)?];
        let decoders = [gpu.pipeline::<decoder::Kernel>(&active)?, gpu.pipeline(&summed)?];
        let scalars_of_features = gpu.pipeline::<own::Kernel>(&summed)?;
        let runs = &batch.runs;
        let summaries: Vec<_> = (0..runs.features.len()).map(|run| lists::summary(&runs.reference(run))).collect();
        let slopes: Vec<f32> = summaries.iter().map(|sum| sum.slopes as f32).collect();
        let along: Vec<f32> = summaries.iter().map(|sum| sum.along as f32).collect();
        let device = batch.upload(gpu)?;
        let hot = hot_sums(gpu, batch, &device, settings.groups)?;
        let of_terms = &*device.runs.terms;
        let terms = [[of_terms; 2], [&*hot.encoder, &*hot.decoder]];
        let clip = Tensor::new(gpu, &[Clip { norm: 1.0, coefficient: settings.coefficient }])?;
        let (guard, step) = (Tensor::new(gpu, &settings.guard)?, Tensor::new(gpu, &[device_step(settings.step)])?);
        for shard in shards(cuts) {
            let scalars = Scalars::new(gpu, planes(), shard.len())?
                .with(Plane::Bias, &self.b_enc.values[shard.clone()])
                .with(Plane::FirstMoment, &self.b_enc.m[shard.clone()])
                .with(Plane::SecondMoment, &self.b_enc.v[shard.clone()])
                .with(Plane::Norm, &self.norms[shard.clone()])
                .with(Plane::Flawed, &self.flawed[shard.clone()])
                .with(Plane::Run, &runs.run_plane(&shard))
                .with(Plane::Slopes, &runs.plane(&shard, &slopes, f32::NAN))
                .with(Plane::Along, &runs.plane(&shard, &along, f32::NAN));
            let w_enc = Matrix::new(gpu, &self.w_enc, shard.clone(), d, settings.bf16)?;
            let w_dec = Matrix::new(gpu, &self.w_dec, shard.clone(), d, settings.bf16)?;
            let range = Tensor::new(gpu, &runs.range(&shard))?;
            let params = Params {
                rows: batch.lists.rows as u32,
                quads: quads(d),
                first: shard.start as u32,
                count: shard.len() as u32,
                groups: settings.groups,
                project: settings.unit_norm.into(),
                unit_norm: settings.unit_norm.into(),
                non_negative: 0,
                seed_low: ROUNDING_SEED as u32,
                seed_high: (ROUNDING_SEED >> 32) as u32,
                one: 1.0,
            };
            submit(gpu, |recording| {
                for ((encoder, decoder), terms) in encoders.iter().zip(&decoders).zip(terms) {
                    let bindings = encoder::Bindings {
                        runs: &device.runs.runs,
                        terms: terms[0],
                        centred: &device.centred,
                        weights: &w_enc.values,
                        m: &w_enc.m,
                        v: &w_enc.v,
                        range: (&range).into(),
                        step: (&step).into(),
                        clip: (&clip).into(),
                        guard: (&guard).into(),
                        params,
                        marks: &scalars,
                    };
                    recording.run(encoder, bindings);
                    let bindings = decoder::Bindings {
                        runs: &device.runs.runs,
                        terms: terms[1],
                        g0: &device.g0,
                        g1: &device.g1,
                        scalars: &scalars,
                        weights: &w_dec.values,
                        m: &w_dec.m,
                        v: &w_dec.v,
                        range: (&range).into(),
                        step: (&step).into(),
                        clip: (&clip).into(),
                        guard: (&guard).into(),
                        params,
                    };
                    recording.run(decoder, bindings);
                }
                let (step, clip, guard) = ((&step).into(), (&clip).into(), (&guard).into());
                recording.run(&scalars_of_features, own::Bindings { scalars: &scalars, step, clip, guard, params });
            })?;
            let written = [Plane::Bias, Plane::FirstMoment, Plane::SecondMoment, Plane::Norm, Plane::Flawed];
            let read = scalars.read(&written)?;
            self.b_enc.values[shard.clone()].copy_from_slice(&floats(&read[0]));
            self.b_enc.m[shard.clone()].copy_from_slice(&floats(&read[1]));
            self.b_enc.v[shard.clone()].copy_from_slice(&floats(&read[2]));
            self.norms[shard.clone()].copy_from_slice(&floats(&read[3]));
            self.flawed[shard.clone()].copy_from_slice(&read[4]);
            w_enc.read_into(&mut self.w_enc, shard.clone())?;
            w_dec.read_into(&mut self.w_dec, shard)?;
        }
        Ok(())
    }

    /// All bits of it.
    pub fn bits(&self) -> Vec<u32> {
        let of = |tracked: &Tracked<f32>| [&tracked.values[..], &tracked.m, &tracked.v].concat();
        let all = [of(&self.w_enc), of(&self.w_dec), of(&self.b_enc), self.norms.clone()].concat();
        [bits(&all), self.flawed.clone()].concat()
    }
}
