use std::cmp::Ordering;

use super::{Codes, relu};

/// Keeps the `k` largest keys of each row (`k <= n`), the lower feature first among equals, and rectifies what it keeps.
///
/// `keys` and `values` are `[rows, n]`: a kept feature enters the codes with both. `-0.0` equals `0.0`.
/// NaN counts as larger than everything and stays NaN, so that it is seen.
pub fn select(keys: &[f64], values: &[f64], n: usize, k: usize) -> Codes {
    assert!(k <= n, "{k} of {n} features cannot be kept");
    let mut codes = Codes { k, features: Vec::new(), values: Vec::new(), keys: Vec::new() };
    for (keys, values) in keys.chunks_exact(n).zip(values.chunks_exact(n)) {
        let mut features: Vec<usize> = (0..n).collect();
        features.sort_by(|&a, &b| descending(keys[a], keys[b]).then(a.cmp(&b)));
        features.truncate(k);
        features.sort();
        for j in features {
            codes.features.push(j as u32);
            codes.values.push(relu(values[j]));
            codes.keys.push(relu(keys[j]));
        }
    }
    codes
}

/// The order of two keys, NaN before all numbers.
fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}
