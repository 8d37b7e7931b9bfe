use super::check::{Check, Checker};
use super::tensors::{Tensor, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::ceilings::{Params, copy::Bindings};
use crate::measure::CeilingKernels;

/// What `targets` hold after a section that copies `values` to each, under a condition; they hold zeros before.
pub fn copied_if(gpu: &Gpu, condition: u32, values: &[f32], targets: usize) -> Result<Vec<Vec<f32>>> {
    let kernels = CeilingKernels::new(gpu)?;
    let (condition, source) = (Tensor::new(gpu, &[condition])?, Tensor::new(gpu, values)?);
    let zeros = vec![0.0_f32; values.len()];
    let targets: Vec<_> = (0..targets).map(|_| Tensor::new(gpu, &zeros)).collect::<Result<_>>()?;
    let params = Params { count: values.len() as u32 / 4, ..Params::default() };
    submit(gpu, |recording| {
        recording.only_if(&condition, |recording| {
            for target_ in &targets {
                kernels.record_copy(recording, Bindings { source: &source, target_, params });
            }
        });
    })?;
    targets.iter().map(Tensor::read).collect()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut copies = checker.compare("gate", 0.0);
    let values = random(1, 4 * 130);
    for condition in [0, 1, u32::MAX] {
        let expected = if condition == 0 { vec![0.0; values.len()] } else { values.clone() };
        for copied in copied_if(checker.gpu, condition, &values, 30)? {
            copies.equal(condition, &copied, &expected);
        }
    }
    Ok(vec![copies.done()])
}
