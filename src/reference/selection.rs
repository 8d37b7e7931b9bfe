//! Which entries a list keeps of a row.

use std::cmp::Ordering;

use crate::sae::description::{Counted, Keep};

/// The entries of each row, ascending by feature.
pub type List = Vec<Vec<Entry>>;

/// A feature that a list keeps of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The feature.
    pub feature: usize,
    /// Its pre-activation.
    pub u: f64,
    /// The key that it was ranked by, which is reported where the entry carries something.
    pub key: f64,
    /// It is decoded, and has a gradient.
    pub carries: bool,
}

impl Entry {
    /// The factor of the feature's decoder row.
    pub fn value(&self) -> f64 {
        if self.carries { self.u } else { 0.0 }
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
            for entry in main.iter().flatten().filter(|entry| entry.value() > 0.0) {
                silent[entry.feature] = 0;
            }
        }
        (0..silent.len()).filter(|&feature| silent[feature] >= self.window).collect()
    }
}

/// The entries that a list keeps of a row: `u` and `keys` are `[n]`, `dead` the dead features.
pub fn select_row(keep: Keep, u: &[f64], keys: &[f64], dead: &[usize]) -> Vec<Entry> {
    let (kept, raw) = match keep {
        Keep::PerRow { k } => (largest(keys, 0..keys.len(), k), false),
        Keep::PerBatch { .. } | Keep::Admitted { .. } => unimplemented!(),
        Keep::Dead { most, raw, .. } => (largest(keys, dead.iter().copied(), most), raw),
    };
    let entry = |feature: usize| {
        let carries = raw || u[feature] > 0.0 || u[feature].is_nan();
        Entry { feature, u: u[feature], key: keys[feature], carries }
    };
    kept.into_iter().map(entry).collect()
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

/// The order of two keys, NaN before all numbers.
fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}
