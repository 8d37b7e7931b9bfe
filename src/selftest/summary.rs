use super::check::{Check, Checker, FOLD};
use super::lists::{Batch, Lists};
use super::tensors::{POISON, Scalars, Tensor, cuts, floats, planes, random, shards, submit};
use crate::engine::planes::{Plane, Planes};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::bias_gradient::BLOCK_ROWS;
use crate::gpu::shaders::summary::{Params, main};
use crate::reference::lists;
use crate::sae::{Gated, SaeConfig};

/// The summaries of the runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Summaries {
    pub slopes: Vec<f32>,
    pub along: Vec<f32>,
    pub fired: Vec<u32>,
    /// The plane of runs, of all features.
    pub runs: Vec<u32>,
    /// The hot runs by their slots.
    pub hot_runs: Vec<u32>,
}

/// The summaries with so many workgroups in a dispatch. Planes of features without a run stay poison.
pub fn summary(gpu: &Gpu, batch: &Batch, groups: u32, cuts: &[usize]) -> Result<Summaries> {
    let pipeline = gpu.pipeline::<main::Kernel>(&planes().defines())?;
    let runs = &batch.runs;
    let device = runs.upload(gpu)?;
    let hot_runs = Tensor::poisoned(gpu, runs.hot_runs(|_| 0).len())?;
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
            recording
                .run(&pipeline, main::Bindings { runs, terms, scalars: &scalars, hot_runs: &hot_runs, range, params });
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
    Ok(Summaries {
        slopes: floats(&slopes),
        along: floats(&along),
        fired,
        runs: run_planes,
        hot_runs: hot_runs.read()?,
    })
}

/// Scalars that a term of a gated SAE carries, in the order of `PLANES_OF_EXTRAS`.
pub const EXTRAS: usize = 6;

const PLANES_OF_EXTRAS: [Plane; EXTRAS] =
    [Plane::Along, Plane::Pull, Plane::OwnSum(0), Plane::Loss, Plane::OwnSum(1), Plane::OwnSum(2)];

/// The sums of the extras `[terms]` of each run.
pub fn extras(gpu: &Gpu, batch: &Batch, extras: &[[f32; EXTRAS]], cuts: &[usize]) -> Result<Vec<[f32; EXTRAS]>> {
    let planes = gated_planes();
    let pipeline = gpu.pipeline::<main::Kernel>(&planes.defines())?;
    let runs = &batch.runs;
    let words = runs.terms.iter().zip(extras).flat_map(|(term, extras)| {
        let [along, pull, own_0, loss, own_1, own_2] = extras.map(f32::to_bits);
        [term.words(), [along, pull, own_0, loss], [own_1, own_2, POISON, POISON]]
    });
    let terms = Tensor::new(gpu, &words.collect::<Vec<_>>())?;
    let run_words = Tensor::new(gpu, &runs.words())?;
    let hot_runs = Tensor::poisoned(gpu, runs.hot_runs(|_| 0).len())?;
    let mut sums = Vec::new();
    for shard in shards(cuts) {
        let scalars = Scalars::new(gpu, &planes, shard.len())?;
        let range = Tensor::new(gpu, &runs.range(&shard))?;
        let params = Params {
            first: shard.start as u32,
            count: shard.len() as u32,
            blocks: (batch.lists.rows as u32).div_ceil(BLOCK_ROWS),
            lists: 1 + batch.second().1,
            groups: 3,
            one: 1.0,
        };
        submit(gpu, |recording| {
            let (runs, terms, range) = (&run_words, &terms, (&range).into());
            recording
                .run(&pipeline, main::Bindings { runs, terms, scalars: &scalars, hot_runs: &hot_runs, range, params });
        })?;
        let read = scalars.read(&[&PLANES_OF_EXTRAS[..], &[Plane::Run, Plane::Slopes, Plane::Fired]].concat())?;
        sums.extend(runs.within(&shard).map(|run| {
            let feature = runs.features[run] as usize - shard.start;
            std::array::from_fn(|at| f32::from_bits(read[at][feature]))
        }));
    }
    Ok(sums)
}

fn gated_planes() -> Planes {
    let architecture = Gated { l1: 1.0, normed: true, detached: false, capacity: None }.into();
    Planes::training(&SaeConfig { architecture, ..SaeConfig::top_k(2, 1, 1) }.describe())
}

/// Random extras of each term.
pub fn random_extras(batch: &Batch) -> Vec<[f32; EXTRAS]> {
    let values = random(17, EXTRAS * batch.runs.terms.len());
    values.chunks_exact(EXTRAS).map(|extras| std::array::from_fn(|at| extras[at])).collect()
}

/// Their sums over each run.
pub fn expected_extras(batch: &Batch, extras: &[[f32; EXTRAS]]) -> Vec<[f64; EXTRAS]> {
    let wide: Vec<[f64; EXTRAS]> = extras.iter().map(|extras| extras.map(f64::from)).collect();
    batch.runs.starts.windows(2).map(|run| lists::sums_of_extras(&wide[run[0]..run[1]])).collect()
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
    let mut extra_sums = checker.compare("summary.extras", FOLD);
    let mut counts = checker.compare("summary.fired", 0.0);
    for (rows, n, per_row) in [(1, 1, [1, 0]), (300, 40, [3, 2]), (2100, 61, [4, 3]), (600, 2500, [9, 0])] {
        let batch = Batch::new(3, Lists::random(3, rows, n, per_row, true), 1);
        let expected = expected(&batch);
        let of_terms = random_extras(&batch);
        let expected_extras = expected_extras(&batch, &of_terms);
        for cuts in cuts(n) {
            let actual = extras(checker.gpu, &batch, &of_terms, &cuts)?;
            extra_sums.close((rows, n, per_row, &cuts), actual.as_flattened(), expected_extras.as_flattened());
            let actual = summary(checker.gpu, &batch, 3, &cuts)?;
            let name = (rows, n, per_row, &cuts);
            sums.close((name, "slopes"), &actual.slopes, &expected.iter().map(|sum| sum.slopes).collect::<Vec<_>>());
            sums.close((name, "along"), &actual.along, &expected.iter().map(|sum| sum.along).collect::<Vec<_>>());
            counts.equal((name, "fired"), &actual.fired, &expected.iter().map(|sum| sum.fired).collect::<Vec<_>>());
            counts.equal((name, "runs"), &actual.runs, &run_plane(&batch));
            counts.equal((name, "hot runs"), &actual.hot_runs, &batch.runs.hot_runs(|_| POISON));
        }
    }
    Ok(vec![sums.done(), extra_sums.done(), counts.done()])
}
