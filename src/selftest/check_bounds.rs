use std::ops::Range;

use super::check::{Check, Checker};
use super::tensors::{Tensor, f64s, submit, words};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::gpu::shaders::check_bounds::{AUDITED, FIRST, LISTED, Params, UNCERTAIN, main::Bindings};
use crate::kernels::CheckBounds;
use crate::reference;

/// Bounds and keys of rows, and what is wanted of them.
#[derive(Clone)]
pub struct Case {
    /// Groups whose bounds a row has.
    pub groups: usize,
    /// Keys of a row.
    pub k: usize,
    /// Rows that can be listed.
    pub room: usize,
    /// Rows that are audited.
    pub audit: Range<usize>,
}

/// What `check_bounds` finds.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// Number of uncertain rows.
    pub uncertain: usize,
    /// Rows that should be listed.
    pub wanted: usize,
    /// Those that are, each with whether it is only audited, in order.
    pub listed: Vec<(usize, bool)>,
}

impl Case {
    /// The kernel's answer for bounds `[rows, groups]` and keys `[rows, k]`.
    pub fn run(&self, gpu: &Gpu, kernel: &CheckBounds, best_bounds: &[f32], keys: &[f32]) -> Result<Found> {
        let &Self { groups, k, room, ref audit } = self;
        let entries =
            |keys: &[f32]| Tensor::new(gpu, &keys.iter().map(|key| [0, 0, 0, key.to_bits()]).collect::<Vec<_>>());
        let (best_bounds, entries) = (entries(best_bounds)?, entries(keys)?);
        let rows = keys.len() / k;
        let audited = Tensor::new(gpu, &[audit.start as u32, audit.len() as u32])?;
        let reruns = Tensor::new(gpu, &vec![0_u32; FIRST as usize + room])?;
        let sizes = [rows, groups, k, room].map(|size| size as u32);
        let params = Params { rows: sizes[0], first_row: 0, groups: sizes[1], k: sizes[2], room: sizes[3] };
        submit(gpu, |recording| {
            let (best_bounds, entries) = (&best_bounds, &entries);
            kernel.record(recording, Bindings { best_bounds, entries, audit: &audited, reruns: &reruns, params });
        })?;
        let found: Vec<u32> = reruns.read()?;
        let wanted = found[LISTED as usize] as usize;
        let listed = found[FIRST as usize..][..wanted.min(room)].iter();
        let mut listed: Vec<_> = listed.map(|row| ((row & !AUDITED) as usize, row & AUDITED != 0)).collect();
        listed.sort_unstable();
        Ok(Found { uncertain: found[UNCERTAIN as usize] as usize, wanted, listed })
    }

    /// The same by the reference, where there is room for all.
    pub fn expected(&self, best_bounds: &[f32], keys: &[f32]) -> Found {
        let uncertain = reference::check_bounds(&f64s(best_bounds), &f64s(keys), self.groups, self.k);
        let rows = 0..keys.len() / self.k;
        let is_uncertain = |row: &usize| uncertain.binary_search(row).is_ok();
        let listed = rows.filter(|row| is_uncertain(row) || self.audit.contains(row));
        let listed: Vec<_> = listed.map(|row| (row, !is_uncertain(&row))).collect();
        Found { uncertain: uncertain.len(), wanted: listed.len(), listed }
    }
}

/// Small integers, so that many are equal.
pub fn integers(seed: u64, count: usize) -> Vec<f32> {
    words(seed, count).into_iter().map(|word| (word % 64) as f32 - 20.0).collect()
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let kernel = CheckBounds::new(checker.gpu)?;
    let mut rows_found = checker.compare("check_bounds", 0.0);
    for (rows, groups, k, audit) in [(1, 1, 1, 0..0), (65, 3, 2, 60..65), (1000, 7, 4, 128..136)] {
        let (bounds, keys) = (integers(1, rows * groups), integers(2, rows * k));
        let case = Case { groups, k, room: rows, audit };
        let words = |found: Found| -> Vec<u32> {
            let listed = found.listed.iter().map(|&(row, is_audited)| row as u32 | (u32::from(is_audited) << 31));
            [found.uncertain as u32, found.wanted as u32].into_iter().chain(listed).collect()
        };
        let actual = words(case.run(checker.gpu, &kernel, &bounds, &keys)?);
        rows_found.equal((rows, groups, k), &actual, &words(case.expected(&bounds, &keys)));
    }
    Ok(vec![rows_found.done()])
}
