use super::check::{Check, Checker, FOLD};
use super::lists::{Batch, Lists};
use super::tensors::{POISON, Scalars, Tensor, cuts, floats, planes, shards, submit};
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::bias_gradient::BLOCK_ROWS;
use crate::gpu::shaders::summary::{Params, main};
use crate::reference::lists;

/// The summaries of the runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Summaries {
    pub slopes: Vec<f32>,
    pub along: Vec<f32>,
    pub fired: Vec<u32>,
    /// The plane of runs, of all features.
    pub runs: Vec<u32>,
}

/// The summaries with so many workgroups in a dispatch. Planes of features without a run stay poison.
pub fn summary(gpu: &Gpu, batch: &Batch, groups: u32, cuts: &[usize]) -> Result<Summaries> {
    let pipeline = gpu.pipeline::<main::Kernel>(&planes().defines())?;
    let runs = &batch.runs;
    let device = runs.upload(gpu)?;
    let [mut run_planes, mut slopes, mut along, mut fired] = [const { Vec::new() }; 4];
    for shard in shards(cuts) {
        let scalars = Scalars::new(gpu, planes(), shard.len())?;
        let range = Tensor::new(gpu, &runs.range(&shard))?;
        let params = Params {
            first: shard.start as u32,
            count: shard.len() as u32,
            blocks: (batch.lists.rows as u32).div_ceil(BLOCK_ROWS),
            lists: 1 + batch.second().1,
            groups,
            one: 1.0,
        };
        submit(gpu, |recording| {
            let (runs, terms, range) = (&device.runs, &device.terms, (&range).into());
            recording.run(&pipeline, main::Bindings { runs, terms, scalars: &scalars, range, params });
        })?;
        let read = scalars.read(&[Plane::Run, Plane::Slopes, Plane::Along, Plane::Fired])?;
        run_planes.extend(&read[0]);
        for run in runs.within(&shard) {
            let feature = runs.features[run] as usize - shard.start;
            slopes.push(read[1][feature]);
            along.push(read[2][feature]);
            fired.push(read[3][feature]);
        }
    }
    Ok(Summaries { slopes: floats(&slopes), along: floats(&along), fired, runs: run_planes })
}

/// The plane of runs that it should leave.
pub fn run_plane(batch: &Batch) -> Vec<u32> {
    let plane = batch.runs.run_plane(&(0..batch.lists.n));
    plane.into_iter().map(|run| if run == 0 { POISON } else { run }).collect()
}

pub fn expected(batch: &Batch) -> Vec<lists::Summary> {
    (0..batch.runs.features.len()).map(|run| lists::summary(&batch.runs.reference(run))).collect()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut sums = checker.compare("summary", FOLD);
    let mut counts = checker.compare("summary.fired", 0.0);
    for (rows, n, per_row) in [(1, 1, [1, 0]), (300, 40, [3, 2]), (2100, 61, [4, 3]), (600, 2500, [9, 0])] {
        let batch = Batch::new(3, Lists::random(3, rows, n, per_row, true), 1);
        let expected = expected(&batch);
        for cuts in cuts(n) {
            let actual = summary(checker.gpu, &batch, 3, &cuts)?;
            let name = (rows, n, per_row, &cuts);
            sums.close((name, "slopes"), &actual.slopes, &expected.iter().map(|sum| sum.slopes).collect::<Vec<_>>());
            sums.close((name, "along"), &actual.along, &expected.iter().map(|sum| sum.along).collect::<Vec<_>>());
            counts.equal((name, "fired"), &actual.fired, &expected.iter().map(|sum| sum.fired).collect::<Vec<_>>());
            counts.equal((name, "runs"), &actual.runs, &run_plane(&batch));
        }
    }
    Ok(vec![sums.done(), counts.done()])
}
