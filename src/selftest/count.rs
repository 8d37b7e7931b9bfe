use super::check::{Check, Checker};
use super::lists::Lists;
use super::tensors::{Tensor, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::count::{Params, main};

/// The statistics of each row, of which the last component is the number of its active entries.
pub fn count(gpu: &Gpu, lists: &Lists) -> Result<Vec<[f32; 4]>> {
    let pipeline = gpu.pipeline::<main::Kernel>(&[])?;
    let (entries, starts) = (Tensor::new(gpu, &lists.words())?, Tensor::new(gpu, &lists.starts())?);
    let rows = Tensor::poisoned(gpu, lists.rows * 4)?;
    let params = Params { rows: lists.rows as u32 };
    submit(gpu, |recording| {
        recording.run(&pipeline, main::Bindings { entries: &entries, starts: &starts, rows: &rows, params });
    })?;
    rows.read()
}

/// What they should be.
pub fn expected(lists: &Lists) -> Vec<[f32; 4]> {
    let mut rows = vec![[0.0; 4]; lists.rows];
    for entry in lists.entries.iter().filter(|entry| entry.list == 0 && entry.flags != 0) {
        rows[entry.row as usize][3] += 1.0;
    }
    rows
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut counts = checker.compare("count", 0.0);
    for (rows, n, k) in [(1, 1, 1), (65, 40, 7), (300, 2500, 33)] {
        let lists = Lists::random(1, rows, n, [k, 2.min(n)], false);
        counts.equal((rows, n, k), &count(checker.gpu, &lists)?, &expected(&lists));
    }
    Ok(vec![counts.done()])
}
