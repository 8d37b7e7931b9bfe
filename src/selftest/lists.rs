//! Lists of entries and runs of terms, on the host and on the device.

use std::ops::Range;

use super::tensors::{POISON, Tensor, pad, random, words};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::count::VALUE;
use crate::gpu::shaders::runs::LEAST_HOT;
use crate::reference::lists::{self, Entry, Term};

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostEntry {
    pub feature: u32,
    pub row: u32,
    pub list: u32,
    pub flags: u32,
    pub u: f32,
    pub key: f32,
}

impl HostEntry {
    /// As the device has it.
    pub fn words(&self) -> [u32; 4] {
        [self.feature, self.row | (self.list << 24) | (self.flags << 25), self.u.to_bits(), self.key.to_bits()]
    }

    pub fn reference(&self) -> Entry {
        let Self { feature, row, list, flags, u, .. } = *self;
        Entry { feature, row: row as usize, list, is_active: flags != 0, u: u.into() }
    }
}

/// Unused entries between list 0 and list 1.
const GAP: usize = 5;

/// The lists of a batch: as many different features per row in each, ascending.
#[derive(Clone)]
pub struct Lists {
    pub rows: usize,
    pub n: usize,
    pub per_row: [usize; 2],
    /// List 0, then list 1.
    pub entries: Vec<HostEntry>,
}

impl Lists {
    /// About a sixth of list 0 is not active. `hot`: each row's first entry is an active one of feature 0.
    pub fn random(seed: u64, rows: usize, n: usize, per_row: [usize; 2], hot: bool) -> Self {
        let mut entries = Vec::new();
        for (list, k) in (0..).zip(per_row) {
            for (at, word) in words(seed + 1000 * u64::from(list), rows * k).into_iter().enumerate() {
                let slot = at % k;
                // A stratum for each keeps features ascending and different.
                let (first, end) = (n * slot / k, n * (slot + 1) / k);
                let is_hot = hot && slot == 0 && list == 0;
                let feature = if is_hot { 0 } else { first + (word >> 8) as usize % (end - first) };
                let value = (word & 0xff) as f32 / 256.0 + 0.125;
                let (u, flags) = match (list, word % 6) {
                    (0, 0) if !is_hot => (-value, 0),
                    (1, 1) => (-value, VALUE),
                    _ => (value, VALUE),
                };
                entries.push(HostEntry { feature: feature as u32, row: (at / k) as u32, list, flags, u, key: u });
            }
        }
        Self { rows, n, per_row, entries }
    }

    /// Where list 1 begins on the device.
    pub fn second(&self) -> usize {
        self.counts()[0] as usize + GAP
    }

    /// Entries of each list.
    pub fn counts(&self) -> [u32; 2] {
        self.per_row.map(|k| (self.rows * k) as u32)
    }

    /// The place on the device of an entry.
    pub fn place(&self, at: usize) -> usize {
        at + if at < self.counts()[0] as usize { 0 } else { GAP }
    }

    /// The entries as the device has them.
    pub fn words(&self) -> Vec<[u32; 4]> {
        let (first, second) = self.entries.split_at(self.counts()[0] as usize);
        let gap = std::iter::repeat_n([POISON; 4], GAP);
        first.iter().map(HostEntry::words).chain(gap).chain(second.iter().map(HostEntry::words)).collect()
    }

    /// Where the entries of each row of list 0 begin, `[rows + 1]`.
    pub fn starts(&self) -> Vec<u32> {
        (0..=self.rows).map(|row| (row * self.per_row[0]) as u32).collect()
    }

    pub fn reference(&self) -> Vec<Entry> {
        self.entries.iter().map(HostEntry::reference).collect()
    }
}

/// A term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostTerm {
    pub row: u32,
    pub list: u32,
    pub p: f32,
    pub a0: f32,
    pub a1: f32,
}

impl HostTerm {
    /// As the device has it.
    pub fn words(&self) -> [u32; 4] {
        let place = self.row | (self.list << 24) | (VALUE << 25);
        [place, self.p.to_bits(), self.a0.to_bits(), self.a1.to_bits()]
    }

    pub fn reference(&self) -> Term {
        let Self { row, list, p, a0, a1 } = *self;
        Term { row: row as usize, list, p: p.into(), a0: a0.into(), a1: a1.into() }
    }
}

/// The terms of a batch by feature.
#[derive(Clone)]
pub struct Runs {
    pub n: usize,
    /// The features that have a run, ascending.
    pub features: Vec<u32>,
    /// Where each run's terms begin, then their number.
    pub starts: Vec<usize>,
    pub terms: Vec<HostTerm>,
    /// Terms of a hot run.
    pub hot: u32,
}

impl Runs {
    /// The runs of lists whose slopes are random.
    pub fn random(seed: u64, lists: &Lists) -> Self {
        let slopes = random(seed, lists.entries.len());
        let (mut features, mut starts, mut terms) = (Vec::new(), Vec::new(), Vec::new());
        for at in lists::sort(&lists.reference()) {
            let HostEntry { feature, row, list, u, .. } = lists.entries[at];
            if features.last() != Some(&feature) {
                features.push(feature);
                starts.push(terms.len());
            }
            let [a0, a1] = if list == 0 { [u, 0.0] } else { [0.0, u] };
            terms.push(HostTerm { row, list, p: slopes[at], a0, a1 });
        }
        starts.push(terms.len());
        Self { n: lists.n, features, starts, terms, hot: LEAST_HOT }
    }

    /// The terms of a run.
    pub fn of(&self, run: usize) -> &[HostTerm] {
        &self.terms[self.starts[run]..self.starts[run + 1]]
    }

    pub fn reference(&self, run: usize) -> Vec<Term> {
        self.of(run).iter().map(HostTerm::reference).collect()
    }

    /// The runs of a shard.
    pub fn within(&self, shard: &Range<usize>) -> Range<usize> {
        let from = |feature: usize| self.features.partition_point(|known| (*known as usize) < feature);
        from(shard.start)..from(shard.end)
    }

    /// The same with their terms, as the device has them.
    pub fn range(&self, shard: &Range<usize>) -> [u32; 5] {
        let Range { start, end } = self.within(shard);
        let [start, end, first, last] = [start, end, self.starts[start], self.starts[end]].map(|number| number as u32);
        [start, end, first, last, self.hot]
    }

    /// The hot runs by their slots; `otherwise` where there is none.
    pub fn hot_runs(&self, otherwise: impl Fn(usize) -> u32) -> Vec<u32> {
        let mut runs: Vec<u32> = (0..self.terms.len() / self.hot as usize + 1).map(otherwise).collect();
        for (run, terms) in self.starts.windows(2).enumerate() {
            if terms[1] - terms[0] >= self.hot as usize {
                runs[terms[0] / self.hot as usize] = run as u32;
            }
        }
        runs
    }

    /// The first run of each block of 64 features.
    pub fn bounds(&self) -> Vec<u32> {
        let bound = |block: usize| self.within(&(64 * block..self.n)).start.min(self.features.len()) as u32;
        (0..self.n.div_ceil(64)).map(bound).chain([self.features.len() as u32]).collect()
    }

    /// (feature, first term) of each run, then (number of features, end).
    pub fn words(&self) -> Vec<[u32; 2]> {
        let features = self.features.iter().copied().chain([self.n as u32]);
        features.zip(&self.starts).map(|(feature, start)| [feature, *start as u32]).collect()
    }

    /// A word for each feature of a shard: 1 + its run, or 0.
    pub fn run_plane(&self, shard: &Range<usize>) -> Vec<u32> {
        let mut plane = vec![0; shard.len()];
        for run in self.within(shard) {
            plane[self.features[run] as usize - shard.start] = run as u32 + 1;
        }
        plane
    }

    /// Values of runs by the features of a shard, and `otherwise` for those without.
    pub fn plane<T: Copy>(&self, shard: &Range<usize>, values: &[T], otherwise: T) -> Vec<T> {
        let mut plane = vec![otherwise; shard.len()];
        for run in self.within(shard) {
            plane[self.features[run] as usize - shard.start] = values[run];
        }
        plane
    }

    pub fn upload<'g>(&self, gpu: &'g Gpu) -> Result<DeviceRuns<'g>> {
        let terms: Vec<[u32; 4]> = self.terms.iter().map(HostTerm::words).collect();
        Ok(DeviceRuns {
            runs: Tensor::new(gpu, &self.words())?,
            terms: Tensor::new(gpu, &terms)?,
            bounds: Tensor::new(gpu, &self.bounds())?,
        })
    }
}

/// Runs on the device.
pub struct DeviceRuns<'g> {
    pub runs: Tensor<'g>,
    pub terms: Tensor<'g>,
    pub bounds: Tensor<'g>,
}

/// What the sums of gradients are made of.
#[derive(Clone)]
pub struct Batch {
    pub d: usize,
    pub lists: Lists,
    pub runs: Runs,
    /// `[rows, d]`, as are the gradients of list 0's and list 1's field.
    pub centred: Vec<f32>,
    pub gradients: [Vec<f32>; 2],
}

impl Batch {
    pub fn new(seed: u64, lists: Lists, d: usize) -> Self {
        let random = |at| random(seed + at, lists.rows * d);
        let (centred, gradients) = (random(1), [random(2), random(3)]);
        Self { d, runs: Runs::random(seed, &lists), lists, centred, gradients }
    }

    /// Whether there is a list 1, as the shaders are told.
    pub fn second(&self) -> (&'static str, u32) {
        ("SECOND", u32::from(self.lists.per_row[1] > 0))
    }

    pub fn upload<'g>(&self, gpu: &'g Gpu) -> Result<DeviceBatch<'g>> {
        let tensor = |values: &[f32]| Tensor::new(gpu, &pad(values, self.d));
        let [g0, g1] = &self.gradients;
        Ok(DeviceBatch {
            runs: self.runs.upload(gpu)?,
            centred: tensor(&self.centred)?,
            g0: tensor(g0)?,
            g1: tensor(g1)?,
        })
    }
}

/// The same on the device.
pub struct DeviceBatch<'g> {
    pub runs: DeviceRuns<'g>,
    pub centred: Tensor<'g>,
    pub g0: Tensor<'g>,
    pub g1: Tensor<'g>,
}
