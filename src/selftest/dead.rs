use std::ops::Range;

use super::check::{Check, Checker};
use super::tensors::{AT_REST, POISON, Scalars, Tensor, cuts, planes, shards, submit, words, wrong};
use crate::engine::parameters::BLOCK_FEATURES;
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::shaders::Step;
use crate::gpu::shaders::dead::{Params, TOO_MANY_DEAD, count, extent, rename, row_starts, scan, write};
use crate::gpu::{Gpu, Slot};

pub struct Case {
    pub last_fired: Vec<u32>,
    /// The last step that each feature fired in, where this batch counts.
    pub marks: Option<Vec<u32>>,
    pub step: u32,
    pub window: u32,
    pub rows: usize,
    /// The most entries per row.
    pub most: u32,
    pub scale_by_share: bool,
    /// Dead features that are looked at together.
    pub chunk: u32,
    /// Dead features that there is room for.
    pub room: u32,
}

/// What it finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The dead features, and how many that is.
    pub dead: Vec<u32>,
    pub found: u32,
    /// Status of the guard.
    pub guard: u32,
    /// Of each chunk of each shard: its width, the dead before it, and the entries wanted per row.
    pub extents: Vec<[u32; 3]>,
    /// Entries of both lists.
    pub counts: Vec<u32>,
    pub factor: f32,
    pub starts: Vec<u32>,
    /// The list, renamed.
    pub features: Vec<u32>,
}

/// Entries of list 0, and where list 1 begins.
const FIRST: u32 = 11;
const BASE: u32 = 13;

impl Case {
    /// About one feature in `sparsity` is dead.
    pub fn new(n: usize, sparsity: u32, with_this_batch: bool) -> Self {
        let (step, window) = (120, 50);
        let last_fired = words(5, n).into_iter().map(|word| if word % sparsity == 0 { word % 60 } else { 110 });
        let marks = words(6, n).into_iter().map(|word| if word.is_multiple_of(5) { step } else { 7 });
        Self {
            last_fired: last_fired.collect(),
            marks: with_this_batch.then(|| marks.collect()),
            step,
            window,
            rows: 9,
            most: 37,
            scale_by_share: !with_this_batch,
            chunk: 256,
            room: n as u32,
        }
    }

    pub fn dead(&self) -> Vec<u32> {
        let is_dead = |feature: &u32| {
            let last = self.last_fired[*feature as usize];
            match &self.marks {
                Some(marks) => marks[*feature as usize] != self.step && self.step - last >= self.window,
                None => self.step - 1 - last >= self.window,
            }
        };
        (0..self.last_fired.len() as u32).filter(is_dead).collect()
    }

    /// Entries per row.
    fn k(&self) -> u32 {
        self.most.min(self.dead().len() as u32)
    }

    /// The number of the dead feature that an entry of the list has before it is renamed.
    fn number(&self, at: u32) -> u32 {
        let (row, slot) = (at / self.k(), at % self.k());
        let dead = self.dead().len() as u32;
        (slot * dead / self.k() + row % 2).min(dead - 1)
    }

    fn chunks(&self, cuts: &[usize]) -> Vec<Chunk> {
        let of = |shard: Range<usize>| {
            let firsts = (0..shard.len() as u32).step_by(self.chunk as usize);
            firsts.map(move |first| Chunk { shard: shard.clone(), first })
        };
        shards(cuts).flat_map(of).collect()
    }

    pub fn expected(&self, cuts: &[usize]) -> Found {
        let (dead, k) = (self.dead(), self.k());
        let before = |feature: usize| dead.partition_point(|dead| (*dead as usize) < feature) as u32;
        let extent = |Chunk { shard, first }: Chunk| {
            let own = before(shard.end) - before(shard.start);
            let first = first.min(own);
            [(own - first).min(self.chunk), before(shard.start) + first, k]
        };
        let share = (dead.len() as f32 / self.most as f32).min(1.0);
        let entries = k * self.rows as u32;
        Found {
            found: dead.len() as u32,
            guard: if dead.len() as u32 > self.room { TOO_MANY_DEAD } else { 0 },
            extents: self.chunks(cuts).into_iter().map(extent).collect(),
            counts: vec![FIRST, entries],
            factor: if self.scale_by_share { share } else { 1.0 },
            starts: (0..=self.rows as u32).map(|row| BASE + row * k).collect(),
            features: (0..entries).map(|at| dead[self.number(at) as usize]).collect(),
            dead,
        }
    }

    pub fn find(&self, gpu: &Gpu, cuts: &[usize]) -> Result<Found> {
        let n = self.last_fired.len();
        let blocks = (n as u32).div_ceil(BLOCK_FEATURES);
        let form = ("WITH_THIS_BATCH", u32::from(self.marks.is_some()));
        let defines = [&planes().defines()[..], &[form]].concat();
        let counted = gpu.pipeline::<count::Kernel>(&defines)?;
        let scanned = gpu.pipeline::<scan::Kernel>(&defines)?;
        let written = gpu.pipeline::<write::Kernel>(&defines)?;
        let extended = gpu.pipeline::<extent::Kernel>(&defines)?;
        let started = gpu.pipeline::<row_starts::Kernel>(&defines)?;
        let renamed = gpu.pipeline::<rename::Kernel>(&defines)?;
        let chunks = self.chunks(cuts);
        let (block_dead, found) = (Tensor::poisoned(gpu, blocks as usize + 1)?, Tensor::poisoned(gpu, 1)?);
        let (extents, factor) = (Tensor::poisoned(gpu, chunks.len() * 64)?, Tensor::poisoned(gpu, 1)?);
        let guard = Tensor::new(gpu, &AT_REST)?;
        let (starts, counts) = (Tensor::poisoned(gpu, self.rows + 1)?, Tensor::new(gpu, &[FIRST, POISON])?);
        let entry = |at: u32| if at < BASE { [POISON; 4] } else { [self.number(at - BASE), 1, 2, 3] };
        let entries: Vec<[u32; 4]> = (0..BASE + self.k() * self.rows as u32).map(entry).collect();
        let entries = Tensor::new(gpu, &entries)?;
        let step = Tensor::new(gpu, &[Step { number: self.step, ..Default::default() }])?;
        let params = |shard: &Range<usize>| Params {
            first: shard.start as u32,
            count: shard.len() as u32,
            window: self.window,
            blocks,
            rows: self.rows as u32,
            most: self.most,
            chunk_width: self.chunk,
            base: BASE,
            room: self.room,
            scale_by_share: self.scale_by_share.into(),
            ..Params::default()
        };
        let scalars = |shard: Range<usize>| {
            let scalars =
                Scalars::new(gpu, planes(), shard.len())?.with(Plane::LastFired, &self.last_fired[shard.clone()]);
            Ok(match &self.marks {
                Some(marks) => scalars.with(Plane::Mark, &marks[shard]),
                None => scalars,
            })
        };
        let scalars = shards(cuts).map(scalars).collect::<Result<Vec<_>>>()?;
        let step: Slot<'_> = (&step).into();
        let block_dead = &*block_dead;
        submit(gpu, |recording| {
            for (shard, scalars) in shards(cuts).zip(&scalars) {
                let params = params(&shard);
                recording.run(&counted, count::Bindings { scalars, block_dead, step, params });
            }
            let whole = params(&(0..0));
            let (found, counts, factor, guard) = (&found, &counts, &factor, &guard);
            recording.run(&scanned, scan::Bindings { block_dead, found, counts, factor, guard, params: whole });
            for (shard, scalars) in shards(cuts).zip(&scalars) {
                let params = params(&shard);
                recording.run(&written, write::Bindings { scalars, block_dead, step, params });
            }
            recording.run(&started, row_starts::Bindings { block_dead, starts: &starts, params: whole });
            for (slot, Chunk { shard, first }) in (0..).zip(&chunks) {
                let params = Params { chunk_first: *first, slot, ..params(shard) };
                recording.run(&extended, extent::Bindings { block_dead, extents: &extents, params });
            }
            let backwards: Vec<_> = shards(cuts).zip(&scalars).collect();
            for (shard, scalars) in backwards.into_iter().rev() {
                let (entries, params) = (&entries, params(&shard));
                recording.run(&renamed, rename::Bindings { scalars, block_dead, entries, params });
            }
        })?;
        let mut dead = Vec::new();
        for (shard, scalars) in shards(cuts).zip(&scalars) {
            let plane = &scalars.read(&[Plane::Dead])?[0];
            let own = plane.iter().position(|word| *word == POISON).unwrap_or(plane.len());
            if plane[own..].iter().any(|word| *word != POISON) {
                return Err(wrong("dead features are not compact"));
            }
            dead.extend(plane[..own].iter().map(|feature| shard.start as u32 + feature));
        }
        let extents = extents.read::<[u32; 64]>()?;
        let entries = entries.read::<[u32; 4]>()?;
        if entries[BASE as usize..].iter().any(|entry| entry[1..] != [1, 2, 3]) {
            return Err(wrong("an entry lost what it carries"));
        }
        Ok(Found {
            dead,
            found: found.read()?[0],
            guard: guard.read()?[0],
            extents: extents.iter().map(|words| [words[0], words[1], words[2]]).collect(),
            counts: counts.read()?,
            factor: factor.read()?[0],
            starts: starts.read()?,
            features: entries[BASE as usize..].iter().map(|entry| entry[0]).collect(),
        })
    }
}

/// Dead features of a shard from the `first` on.
struct Chunk {
    shard: Range<usize>,
    first: u32,
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut lists = checker.compare("dead", 0.0);
    for (n, sparsity) in [(1, 1), (40, 2), (2500, 3), (5000, 300)] {
        for with_this_batch in [false, true] {
            let case = Case { room: 500, ..Case::new(n, sparsity, with_this_batch) };
            for cuts in cuts(n) {
                let (actual, expected) = (case.find(checker.gpu, &cuts)?, case.expected(&cuts));
                let name = (n, sparsity, with_this_batch, &cuts);
                lists.equal((name, "features"), &actual.dead, &expected.dead);
                lists.equal((name, "extents"), &actual.extents, &expected.extents);
                lists.equal((name, "counts"), &actual.counts, &expected.counts);
                lists.equal((name, "starts"), &actual.starts, &expected.starts);
                lists.equal((name, "renamed"), &actual.features, &expected.features);
                lists.equal((name, "found"), &[actual.found], &[expected.found]);
                lists.equal((name, "factor"), &[actual.factor], &[expected.factor]);
                lists.equal((name, "guard"), &[actual.guard], &[expected.guard]);
            }
        }
    }
    Ok(vec![lists.done()])
}
