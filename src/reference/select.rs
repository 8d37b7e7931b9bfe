use super::{Codes, largest, relu};

/// Keeps the `k` largest keys of each row (`k <= n`), the lower feature first among equals, and rectifies them.
///
/// `keys` and `values` are `[rows, n]`: a kept feature enters the codes with both. `-0.0` equals `0.0`.
/// NaN counts as larger than everything and stays NaN, so that it is seen.
pub fn select(keys: &[f64], values: &[f64], n: usize, k: usize) -> Codes {
    assert!(k <= n, "{k} of {n} features cannot be kept");
    let mut codes = Codes { k, features: Vec::new(), values: Vec::new(), keys: Vec::new() };
    for (keys, values) in keys.chunks_exact(n).zip(values.chunks_exact(n)) {
        for j in largest(keys, 0..n, k) {
            codes.features.push(j as u32);
            codes.values.push(relu(values[j]));
            codes.keys.push(relu(keys[j]));
        }
    }
    codes
}
