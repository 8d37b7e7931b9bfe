use super::{dot, row};

/// `(least, most)` of the bound of each group's largest key, `[rows, n / group]`: the largest key itself, and the largest of key and
/// twice its margin, which is `(margin |c_i| |w_j| + bias_margin |b_j|) norm_j`.
pub fn screen(
    centred: &[f64],
    w_enc: &[f64],
    b_enc: &[f64],
    norms: &[f64],
    d: usize,
    group: usize,
    [margin, bias_margin]: [f64; 2],
) -> Vec<(f64, f64)> {
    let norm = |row: &[f64]| dot(row, row).sqrt();
    let w_norms: Vec<f64> = w_enc.chunks_exact(d).map(norm).collect();
    let features: Vec<usize> = (0..b_enc.len()).collect();
    let mut bounds = Vec::new();
    for c in centred.chunks_exact(d) {
        let c_norm = norm(c);
        for group in features.chunks(group) {
            let (mut least, mut most) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
            for &j in group {
                let key = (dot(row(w_enc, j, d), c) + b_enc[j]) * norms[j];
                let lost = (margin * c_norm * w_norms[j] + bias_margin * b_enc[j].abs()) * norms[j];
                least = least.max(key);
                most = most.max(key + 2.0 * lost);
            }
            bounds.push((least, most));
        }
    }
    bounds
}
