use super::{dot, row};

/// `(features, values, keys)` of the features in each row's groups, `[rows, groups · group]`: `u_ij = w_j · c_i + b_j`,
/// and that times `norms`; features past the last have a key of minus infinity. `centred` is `[rows, d]`, `w_enc` `[n,
/// d]`, `best_groups` `[rows, groups]`.
pub fn rescore(
    centred: &[f64],
    w_enc: &[f64],
    b_enc: &[f64],
    norms: &[f64],
    d: usize,
    best_groups: &[usize],
    group: usize,
) -> (Vec<usize>, Vec<f64>, Vec<f64>) {
    let groups = best_groups.len() / (centred.len() / d).max(1);
    let (mut features, mut values, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (c, best_groups) in centred.chunks_exact(d).zip(best_groups.chunks_exact(groups)) {
        for j in best_groups.iter().flat_map(|&number| number * group..(number + 1) * group) {
            features.push(j);
            let value = b_enc.get(j).map(|b| dot(row(w_enc, j, d), c) + b);
            values.push(value.unwrap_or(f64::NAN));
            keys.push(value.map_or(f64::NEG_INFINITY, |value| value * norms[j]));
        }
    }
    (features, values, keys)
}
