use super::check::{Check, Checker, FOLD};
use super::tensors::{Tensor, submit};
use crate::engine::threshold::{DECAY, mean};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::threshold::{Params, main};
use crate::gpu::shaders::{Guard, Running};

/// What the selection writes of a least key; 0 for none.
pub fn word(least: Option<f32>) -> u32 {
    least.map_or(0, |key| !key.to_bits() & 0x7fff_ffff)
}

/// The running mean after batches that kept these least keys.
pub fn threshold(gpu: &Gpu, least: &[Option<f32>], guard: Guard) -> Result<Option<f32>> {
    let pipeline = gpu.pipeline::<main::Kernel>(&[])?;
    let (running, guard) = (Tensor::new(gpu, &[Running::default()])?, Tensor::new(gpu, &[guard])?);
    for &key in least {
        let least = Tensor::new(gpu, &[word(key)])?;
        let params = Params { decay: DECAY as f32, one_minus_decay: (1.0 - DECAY) as f32 };
        submit(gpu, |recording| {
            let bindings = main::Bindings { least: &least, running: &running, guard: (&guard).into(), params };
            recording.run(&pipeline, bindings);
        })?;
    }
    Ok(mean(running.read::<Running>()?[0]))
}

/// The mean of the keys that there are, each weighing 9/10 of the next.
pub fn expected(least: &[Option<f32>]) -> Option<f64> {
    let (mut sum, mut weight) = (0.0, 0.0);
    for key in least.iter().flatten() {
        sum = DECAY * sum + f64::from(*key);
        weight = DECAY * weight + 1.0;
    }
    (weight > 0.0).then(|| sum / weight)
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut values = checker.compare("threshold", FOLD);
    let cases: [&[Option<f32>]; 3] = [&[Some(3.5)], &[None, Some(1e-3), Some(7.0)], &[Some(4.0), None, Some(0.25)]];
    for least in cases {
        let actual = threshold(checker.gpu, least, Guard::default())?.unwrap_or(f32::NAN);
        values.close(least.len(), &[actual], &[expected(least).unwrap_or(f64::NAN)]);
    }
    Ok(vec![values.done()])
}
