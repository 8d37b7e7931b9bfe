use std::ops::Range;

use super::check::{Check, Checker};
use super::lists::{Lists, Runs};
use super::tensors::{POISON, Tensor, cuts, shards, submit};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::{Sort, Sorted};
use crate::reference::lists;

/// Room for hot runs.
const HOT_SLOTS: u32 = 9;

/// What a sort makes of lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// (feature, place in the lists) of the active entries.
    pub pairs: Vec<[u32; 2]>,
    /// The number of runs, and of active entries.
    pub totals: Vec<u32>,
    /// (feature, first pair), then (number of features, end).
    pub runs: Vec<[u32; 2]>,
    /// The first run of each block of 64 features, then their number.
    pub bounds: Vec<u32>,
    /// Runs and pairs of each shard, and the terms of a hot run.
    pub ranges: Vec<[u32; 5]>,
}

/// The same on the host.
pub fn expected(lists: &Lists, cuts: &[usize]) -> Outcome {
    let mut runs = Runs::random(1, lists);
    runs.hot = runs.hot.max(runs.terms.len().div_ceil(HOT_SLOTS as usize) as u32);
    let pair = |at: usize| [lists.entries[at].feature, lists.place(at) as u32];
    Outcome {
        pairs: lists::sort(&lists.reference()).into_iter().map(pair).collect(),
        totals: vec![runs.features.len() as u32, runs.terms.len() as u32],
        runs: runs.words(),
        bounds: runs.bounds(),
        ranges: shards(cuts).map(|shard| runs.range(&shard)).collect(),
    }
}

/// The same on the device, with so many workgroups.
pub fn sort(gpu: &Gpu, shares: u32, lists: &Lists, cuts: &[usize]) -> Result<Outcome> {
    let sort = Sort::with_shares(gpu, shares)?;
    let ranges: Vec<Range<u32>> = shards(cuts).map(|shard| shard.start as u32..shard.end as u32).collect();
    // More room than there are entries, as when a list of dead features is not full.
    let capacity = lists.entries.len() as u32 + 300;
    let sorted = Sorted::with_shares(gpu, shares, capacity, lists.n as u32, &ranges, HOT_SLOTS)?;
    for buffer in sorted.written() {
        gpu.upload(buffer, 0, &vec![POISON; buffer.bytes() as usize / 4]);
    }
    let [first, second] = lists.counts();
    let (entries, counts) = (Tensor::new(gpu, &lists.words())?, Tensor::new(gpu, &[first, second, 0, 0])?);
    submit(gpu, |recording| sort.record(recording, &entries, &counts, lists.second() as u32, &sorted))?;
    let totals = gpu.read::<u32>(sorted.totals())?[..2].to_vec();
    let ranges: Vec<[u32; 64]> = gpu.read(sorted.range(0).buffer)?;
    let mut runs: Vec<[u32; 2]> = gpu.read(&sorted.runs)?;
    runs.truncate(totals[0] as usize + 1);
    let mut pairs: Vec<[u32; 2]> = gpu.read(sorted.pairs())?;
    pairs.truncate(totals[1] as usize);
    let mut bounds: Vec<u32> = gpu.read(&sorted.bounds)?;
    bounds.truncate(lists.n.div_ceil(64) + 1);
    let ranges = ranges.iter().map(|words| std::array::from_fn(|at| words[at])).collect();
    Ok(Outcome { pairs, totals, runs, bounds, ranges })
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut pairs = checker.compare("sort", 0.0);
    let mut runs = checker.compare("runs", 0.0);
    for (rows, n, per_row) in
        [(1, 1, [1, 0]), (5, 40, [3, 0]), (90, 300, [7, 5]), (300, 2500, [33, 2]), (20, 70_000, [40, 9])]
    {
        let lists = Lists::random(1, rows, n, per_row, true);
        for (shares, cuts) in [16, 256].into_iter().zip(cuts(n).into_iter().cycle()) {
            let (actual, expected) = (sort(checker.gpu, shares, &lists, &cuts)?, expected(&lists, &cuts));
            let name = (rows, n, per_row, shares);
            pairs.equal(name, &actual.pairs, &expected.pairs);
            runs.equal((name, "totals"), &actual.totals, &expected.totals);
            runs.equal(name, &actual.runs, &expected.runs);
            runs.equal((name, "bounds"), &actual.bounds, &expected.bounds);
            runs.equal((name, "ranges", &cuts), &actual.ranges, &expected.ranges);
        }
    }
    Ok(vec![pairs.done(), runs.done()])
}
