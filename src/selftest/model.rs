use super::check::{Check, Checker};
use super::tensors::{AT_REST, Tensor, f32s, f64s, pad, random, submit, unpad};
use super::trained::{ADAM, device_step};
use super::update::{MOMENTS, PARAMETERS};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::Clip;
use crate::gpu::shaders::model::{Params, main};
use crate::kernels::quads;
use crate::reference::{Adam, adam};

/// `b_dec` and its moments, and the guard.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderBias {
    pub values: Vec<f32>,
    pub m: Vec<f32>,
    pub v: Vec<f32>,
    pub guard: Vec<u32>,
}

impl DecoderBias {
    pub fn new(values: &[f32]) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { values: values.to_vec(), m: zeros.clone(), v: zeros, guard: AT_REST.to_vec() }
    }

    /// A step on the device.
    pub fn update(&mut self, gpu: &Gpu, gradient: &[f32], step: u64, coefficient: f32) -> Result<()> {
        let d = self.values.len();
        let pipeline = gpu.pipeline::<main::Kernel>(&[])?;
        let tensor = |values: &[f32]| Tensor::new(gpu, &pad(values, d));
        let (weights, m, v) = (tensor(&self.values)?, tensor(&self.m)?, tensor(&self.v)?);
        let (gradient, guard) = (tensor(gradient)?, Tensor::new(gpu, &self.guard)?);
        let clip = Tensor::new(gpu, &[Clip { norm: 1.0, coefficient }])?;
        let step = Tensor::new(gpu, &[device_step(step)])?;
        submit(gpu, |recording| {
            let bindings = main::Bindings {
                weights: &weights,
                m: &m,
                v: &v,
                gradient: &gradient,
                guard: &guard,
                step: (&step).into(),
                clip: (&clip).into(),
                params: Params { quads: quads(d) },
            };
            recording.run(&pipeline, bindings);
        })?;
        let read = |tensor: &Tensor<'_>| unpad(&tensor.read::<f32>()?, d);
        *self = Self { values: read(&weights)?, m: read(&m)?, v: read(&v)?, guard: guard.read()? };
        Ok(())
    }
}

/// Three steps on the device, and the same in f64: values, m and v.
pub fn three_steps(gpu: &Gpu, d: usize) -> Result<(DecoderBias, [Vec<f64>; 3])> {
    let mut expected = [f64s(&random(1, d)), vec![0.0; d], vec![0.0; d]];
    let mut actual = DecoderBias::new(&f32s(&expected[0]));
    for step in 1..=3 {
        let gradient = random(20 + step, d);
        actual.update(gpu, &gradient, step, 0.5)?;
        let [values, m, v] = &mut expected;
        adam(values, m, v, &f64s(&gradient), 0.5, &Adam { step, ..ADAM });
    }
    Ok((actual, expected))
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut parameters = checker.compare("model.parameters", PARAMETERS);
    let mut moments = checker.compare("model.moments", MOMENTS);
    for d in [1, 17, 257] {
        let (actual, [values, m, v]) = three_steps(checker.gpu, d)?;
        parameters.close(d, &actual.values, &values);
        moments.close((d, "m"), &actual.m, &m);
        moments.close((d, "v"), &actual.v, &v);
    }
    Ok(vec![parameters.done(), moments.done()])
}
