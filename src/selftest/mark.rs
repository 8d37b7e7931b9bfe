use super::check::{Check, Checker};
use super::lists::Lists;
use super::tensors::{Scalars, Tensor, cuts, planes, shards, submit};
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::Step;
use crate::gpu::shaders::mark::{Params, main};

/// The mark of every feature before.
pub const BEFORE: u32 = 3;

/// The step.
pub const STEP: u32 = 20;

/// The marks after list 0 was marked.
pub fn mark(gpu: &Gpu, lists: &Lists, cuts: &[usize]) -> Result<Vec<u32>> {
    let pipeline = gpu.pipeline::<main::Kernel>(&planes().defines())?;
    let entries = Tensor::new(gpu, &lists.words())?;
    let step = Tensor::new(gpu, &[Step { number: STEP, ..Default::default() }])?;
    let counts = Tensor::new(gpu, &lists.counts())?;
    let mut marks = Vec::new();
    for shard in shards(cuts) {
        let scalars = Scalars::new(gpu, planes(), shard.len())?.with(Plane::Mark, &vec![BEFORE; shard.len()]);
        let (first, count) = (shard.start as u32, shard.len() as u32);
        let params = Params { capacity: lists.counts()[0] + 100, first, count };
        submit(gpu, |recording| {
            let (step, counts) = ((&step).into(), (&counts).into());
            recording.run(&pipeline, main::Bindings { entries: &entries, scalars: &scalars, step, counts, params });
        })?;
        marks.extend(&scalars.read(&[Plane::Mark])?[0]);
    }
    Ok(marks)
}

/// The marks as they should be.
pub fn expected(lists: &Lists) -> Vec<u32> {
    let mut marks = vec![BEFORE; lists.n];
    for entry in lists.entries.iter().filter(|entry| entry.list == 0 && entry.flags != 0) {
        marks[entry.feature as usize] = STEP;
    }
    marks
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut marks = checker.compare("mark", 0.0);
    for (rows, n, k) in [(1, 1, 1), (9, 40, 3), (20, 2500, 9)] {
        let lists = Lists::random(1, rows, n, [k, 1], false);
        for cuts in cuts(n) {
            marks.equal((rows, n, k), &mark(checker.gpu, &lists, &cuts)?, &expected(&lists));
        }
    }
    Ok(vec![marks.done()])
}
