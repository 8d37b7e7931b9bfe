use super::check::{Check, Checker};
use super::tensors::{POISON, Scalars, Tensor, planes, random, submit, words};
use crate::engine::planes::Plane;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::Extent;
use crate::gpu::shaders::select_wide::{Params, VALUE, main};
use crate::reference;

/// What candidates are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Values below 0 too.
    pub raw: bool,
    /// Times the norms of decoder rows.
    pub scaled: bool,
}

impl Keys {
    pub const ALL: [Self; 4] = [
        Self { raw: false, scaled: false },
        Self { raw: false, scaled: true },
        Self { raw: true, scaled: false },
        Self { raw: true, scaled: true },
    ];
}

pub struct Case {
    pub rows: usize,
    pub candidates: usize,
    pub k: usize,
    /// `[rows, candidates]`
    pub u: Vec<f32>,
    /// By feature; the candidates are the features in descending order.
    pub norms: Vec<f32>,
}

/// Where the list begins.
const BASE: usize = 3;

impl Case {
    pub fn new(rows: usize, candidates: usize, k: usize) -> Self {
        let norms = random(2, candidates).into_iter().map(|norm| norm.abs() + 0.25).collect();
        Self { rows, candidates, k: k.min(candidates), u: random(1, rows * candidates), norms }
    }

    /// The same with values that are often equal, zeros of both signs among them.
    pub fn with_ties(rows: usize, candidates: usize, k: usize) -> Self {
        let tie = |word: u32| [0.0, -0.0, 0.5, 1.0, -1.0, 2.0][word as usize % 6];
        let (u, norms) = (words(3, rows * candidates).into_iter().map(tie).collect(), vec![1.0; candidates]);
        Self { u, norms, ..Self::new(rows, candidates, k) }
    }

    /// (candidate, place, bits of u, bits of the key) of each row's list.
    pub fn expected(&self, keys: Keys) -> Vec<[u32; 4]> {
        let mut expected = Vec::new();
        for (row, u) in self.u.chunks_exact(self.candidates).enumerate() {
            let key = |at: usize| {
                let key = if keys.scaled { u[at] * self.norms[self.candidates - 1 - at] } else { u[at] };
                if keys.raw || u[at] > 0.0 { key } else { 0.0 }
            };
            let all: Vec<f64> = (0..self.candidates).map(|at| key(at).into()).collect();
            for at in reference::largest(&all, 0..all.len(), self.k) {
                let flags = if keys.raw || u[at] > 0.0 { VALUE } else { 0 };
                let place = row as u32 | (1 << 24) | (flags << 25);
                expected.push([at as u32, place, u[at].to_bits(), key(at).to_bits()]);
            }
        }
        expected
    }

    /// The same on the device, `chunk` candidates at a time.
    pub fn select(&self, gpu: &Gpu, keys: Keys, chunk: usize) -> Result<Vec<[u32; 4]>> {
        let own = [("RAW", u32::from(keys.raw)), ("SCALED", u32::from(keys.scaled))];
        let pipeline = gpu.pipeline::<main::Kernel>(&[&planes().defines()[..], &own].concat())?;
        let dead: Vec<u32> = (0..self.candidates as u32).rev().collect();
        let mut scalars = Scalars::new(gpu, planes(), self.candidates)?.with(Plane::Dead, &dead);
        if keys.scaled {
            scalars = scalars.with(Plane::Norm, &self.norms);
        }
        let entries = Tensor::new(gpu, &vec![[POISON; 4]; BASE + self.rows * self.k])?;
        let stride = chunk.next_multiple_of(4) + 4;
        // A chunk without candidates changes nothing.
        let empty = [self.candidates];
        for first in (0..self.candidates).step_by(chunk).chain(empty) {
            let width = chunk.min(self.candidates - first);
            let mut u = vec![f32::NAN; self.rows * stride];
            for row in 0..self.rows {
                u[row * stride..][..width].copy_from_slice(&self.u[row * self.candidates + first..][..width]);
            }
            let pre_activations = Tensor::new(gpu, &u)?;
            let extent = Extent { width: width as u32, before: first as u32, k: self.k as u32 };
            let extent = Tensor::new(gpu, &[extent])?;
            let params = Params {
                rows: self.rows as u32,
                stride: stride as u32,
                first: first as u32,
                count: self.candidates as u32,
                list: 1,
                base: BASE as u32,
            };
            submit(gpu, |recording| {
                let (scalars, extent) = (&*scalars, (&extent).into());
                let (pre_activations, entries) = (&pre_activations, &entries);
                recording.run(&pipeline, main::Bindings { pre_activations, scalars, entries, extent, params });
            })?;
        }
        scalars.read(&[])?;
        let entries = entries.read::<[u32; 4]>()?;
        assert!(entries[..BASE].iter().all(|entry| *entry == [POISON; 4]), "something was written before the list");
        Ok(entries[BASE..].to_vec())
    }
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut lists = checker.compare("select_wide", 0.0);
    for (rows, candidates, k, chunk) in [(1, 1, 1, 1), (3, 700, 384, 300), (2, 3000, 33, 1024), (5, 90, 200, 64)] {
        for keys in Keys::ALL {
            let random = Case::new(rows, candidates, k);
            let name = (rows, candidates, k, chunk, keys);
            lists.equal(name, &random.select(checker.gpu, keys, chunk)?, &random.expected(keys));
            let tied = Case::with_ties(rows, candidates, k);
            lists.equal((name, "ties"), &tied.select(checker.gpu, keys, chunk)?, &tied.expected(keys));
        }
    }
    Ok(vec![lists.done()])
}
