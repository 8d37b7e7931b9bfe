//! Which entries a list keeps of a batch.

use std::cmp::Ordering;

use super::entry::{Flags, Own, arithmetic};
use crate::sae::description::{Counted, Keep, ListSpec};

/// The entries of each row, ascending by feature.
pub type List = Vec<Vec<Entry>>;

/// A feature that a list keeps of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The feature.
    pub feature: usize,
    /// Its pre-activation.
    pub u: f64,
    /// The key that it was ranked by: `u` times the scale of keys.
    pub key: f64,
    /// What it has a part in.
    pub flags: Flags,
    /// The factor of its decoder row in a reconstruction; 0 where it is not active.
    pub decoded: f64,
    /// The same in the reconstruction of a gate.
    pub gate: f64,
}

impl Entry {
    /// The activation that an SAE reports: in the scale of keys, where it is the pre-activation that is decoded.
    pub fn reported(&self) -> f64 {
        if self.decoded == self.u { self.key } else { self.decoded }
    }
}

/// When features last fired, and the time now.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// The step in which each feature last fired, 0 and below being before the first; `[n]`.
    pub last_fired: &'a [i64],
    /// The number of the step under way, 1 for the first.
    pub step: i64,
    /// A feature is dead once it has not fired for so many steps.
    pub window: i64,
}

impl Clock<'_> {
    /// The dead features, ascending; `main` is the main list of the batch.
    pub fn dead(&self, counted: Counted, main: &List) -> Vec<usize> {
        let mut silent: Vec<i64> = match counted {
            Counted::Before => self.last_fired.iter().map(|last| self.step - 1 - last).collect(),
            Counted::WithThisBatch => self.last_fired.iter().map(|last| self.step - last).collect(),
        };
        if counted == Counted::WithThisBatch {
            for entry in main.iter().flatten().filter(|entry| entry.decoded > 0.0) {
                silent[entry.feature] = 0;
            }
        }
        (0..silent.len()).filter(|&feature| silent[feature] >= self.window).collect()
    }
}

/// What a list is selected from.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// Pre-activations, `[rows, n]`.
    pub u: &'a [f64],
    /// Keys, `[rows, n]`.
    pub keys: &'a [f64],
    /// The own scalars of each feature, `[n]`.
    pub own: &'a [Own],
    /// The dead features.
    pub dead: &'a [usize],
}

/// The entries that a list keeps of a batch.
pub fn select(list: &ListSpec, candidates: Candidates<'_>) -> List {
    let Candidates { u, keys, own, dead } = candidates;
    let (n, kind) = (own.len(), arithmetic(list.entry));
    let rows = keys.len() / n;
    let of_each_row = |of_row: &dyn Fn(usize) -> Vec<usize>| (0..rows).map(of_row).collect::<Vec<_>>();
    let keys_of = |row: usize| &keys[row * n..][..n];
    let kept = match list.keep {
        Keep::PerRow { k } => of_each_row(&|row| largest(keys_of(row), 0..n, k)),
        Keep::PerBatch { per_row } => largest_of_batch(keys, n, per_row * rows),
        Keep::Admitted { .. } => {
            of_each_row(&|row| (0..n).filter(|&j| kind.admits(u[row * n + j], own[j]).any()).collect())
        }
        Keep::Dead { most, .. } => of_each_row(&|row| largest(keys_of(row), dead.iter().copied(), most)),
    };
    let raw = matches!(list.keep, Keep::Dead { raw: true, .. });
    let entry = |row: usize, feature: usize| {
        let (u, key) = (u[row * n + feature], keys[row * n + feature]);
        let flags = if raw { Flags::VALUE } else { kind.admits(u, own[feature]) };
        let values = kind.values(u, flags, own[feature]);
        Entry { feature, u, key, flags, decoded: values.decoded, gate: values.gate }
    };
    let rows = kept.into_iter().enumerate();
    rows.map(|(row, features)| features.into_iter().map(|feature| entry(row, feature)).collect()).collect()
}

/// The `most` candidates with the largest keys, ascending; the lower feature first among equals.
///
/// `-0.0` equals `0.0`. NaN counts as larger than everything, so that it is seen.
pub fn largest(keys: &[f64], candidates: impl IntoIterator<Item = usize>, most: usize) -> Vec<usize> {
    let mut features: Vec<usize> = candidates.into_iter().collect();
    features.sort_by(|&a, &b| descending(keys[a], keys[b]).then(a.cmp(&b)));
    features.truncate(most);
    features.sort();
    features
}

/// The features of each row among the `most` pairs of a row and a feature with the largest keys above 0, `keys` being
/// `[rows, n]`; the lower row first among equals, then the lower feature.
pub fn largest_of_batch(keys: &[f64], n: usize, most: usize) -> Vec<Vec<usize>> {
    let mut features = vec![Vec::new(); keys.len() / n];
    let positive = (0..keys.len()).filter(|&pair| keys[pair] > 0.0 || keys[pair].is_nan());
    for pair in largest(keys, positive, most) {
        features[pair / n].push(pair % n);
    }
    features
}

/// The order of two keys, NaN before all numbers.
fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}
