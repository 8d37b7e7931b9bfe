use super::check::{Check, Checker, FOLD};
use super::tensors::{Tensor, random, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::ceilings::{Params, copy, multiply_add};
use crate::measure::CeilingKernels;
use crate::reference;

pub const FACTOR: f32 = 0.75;
pub const ADDEND: f32 = 0.375;

/// A copy of `values`, of vectors of 4.
pub fn copied(gpu: &Gpu, kernels: &CeilingKernels, values: &[f32]) -> Result<Vec<f32>> {
    let (source, target_) = (Tensor::new(gpu, values)?, Tensor::poisoned(gpu, values.len())?);
    let params = Params { count: values.len() as u32 / 4, ..Params::default() };
    submit(gpu, |recording| {
        kernels.record_copy(recording, copy::Bindings { source: &source, target_: &target_, params });
    })?;
    target_.read()
}

/// The sums of `workgroups` workgroups of 64 threads.
pub fn multiplied(gpu: &Gpu, kernels: &CeilingKernels, workgroups: usize, rounds: u32) -> Result<Vec<f32>> {
    let results = Tensor::poisoned(gpu, workgroups * 64 * 4)?;
    let params = Params { rounds, factor: FACTOR, addend: ADDEND, ..Params::default() };
    submit(gpu, |recording| {
        let bindings = multiply_add::Bindings { results: &results, params };
        kernels.record_multiply_add(recording, bindings, workgroups as u64);
    })?;
    results.read()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernels = CeilingKernels::new(checker.gpu)?;
    let mut copies = checker.compare("ceilings.copy", 0.0);
    for vectors in [1, 63, 65, 1000] {
        let values = random(1, 4 * vectors);
        copies.equal(vectors, &copied(checker.gpu, &kernels, &values)?, &values);
    }
    let mut sums = checker.compare("ceilings.multiply_add", FOLD);
    for (workgroups, rounds) in [(1, 0), (3, 1), (2, 40)] {
        let expected = reference::multiply_add(workgroups * 64, rounds as usize, FACTOR.into(), ADDEND.into());
        sums.close((workgroups, rounds), &multiplied(checker.gpu, &kernels, workgroups, rounds)?, &expected);
    }
    Ok(vec![copies.done(), sums.done()])
}
