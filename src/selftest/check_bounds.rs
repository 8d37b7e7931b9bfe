use super::check::{Check, Checker};
use super::tensors::{Tensor, f64s, submit, words};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::check_bounds::{Params, main::Bindings};
use crate::kernels::CheckBounds;
use crate::reference;

/// The number of uncertain rows.
pub fn check_bounds(
    gpu: &Gpu,
    kernel: &CheckBounds,
    best_bounds: &[f32],
    keys: &[f32],
    (rows, groups, k): (usize, usize, usize),
) -> Result<u32> {
    let entries = |keys: &[f32]| Tensor::new(gpu, &keys.iter().map(|key| [0, 0, 0, key.to_bits()]).collect::<Vec<_>>());
    let (best_bounds, entries) = (entries(best_bounds)?, entries(keys)?);
    let uncertain = Tensor::new(gpu, &[0_u32])?;
    let params = Params { rows: rows as u32, groups: groups as u32, k: k as u32, ..Default::default() };
    submit(gpu, |recording| {
        let bindings = Bindings { best_bounds: &best_bounds, entries: &entries, uncertain: &uncertain, params };
        kernel.record(recording, bindings);
    })?;
    Ok(uncertain.read()?[0])
}

/// Small integers, so that many are equal.
pub fn integers(seed: u64, count: usize) -> Vec<f32> {
    words(seed, count).into_iter().map(|word| (word % 64) as f32 - 20.0).collect()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = CheckBounds::new(checker.gpu)?;
    let mut counts = checker.compare("check_bounds", 0.0);
    for (rows, groups, k) in [(1, 1, 1), (65, 3, 2), (1000, 7, 4)] {
        let (bounds, keys) = (integers(1, rows * groups), integers(2, rows * k));
        let expected = reference::check_bounds(&f64s(&bounds), &f64s(&keys), groups, k) as u32;
        let actual = check_bounds(checker.gpu, &kernel, &bounds, &keys, (rows, groups, k))?;
        counts.equal((rows, groups, k), &[actual], &[expected]);
    }
    Ok(vec![counts.done()])
}
