use super::{dot, row, to_f16};

/// `(least, most)` of the bound of each group's largest key, `[rows, n / group]`: the largest key itself, and the
/// largest of key and twice what may be lost, which is `|c_i - c'_i| (|w_j| + |w_j - w'_j|) + |c_i| |w_j - w'_j| +
/// margin (|c_i| |w_j| + |b_j|)`, times `norm_j`, with `c'` and `w'` what `to_f16` leaves.
pub fn screen(
    centred: &[f64],
    w_enc: &[f64],
    b_enc: &[f64],
    norms: &[f64],
    d: usize,
    group: usize,
    margin: f64,
) -> Vec<(f64, f64)> {
    let (c_norms, w_norms) = (norms_and_lost(centred, d), norms_and_lost(w_enc, d));
    let features: Vec<usize> = (0..b_enc.len()).collect();
    let mut bounds = Vec::new();
    for (c, (c_norm, c_lost)) in centred.chunks_exact(d).zip(c_norms) {
        for group in features.chunks(group) {
            let (mut least, mut most) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
            for &j in group {
                let key = (dot(row(w_enc, j, d), c) + b_enc[j]) * norms[j];
                let (w_norm, w_lost) = w_norms[j];
                let inputs = c_lost * (w_norm + w_lost) + c_norm * w_lost;
                let lost = (inputs + margin * (c_norm * w_norm + b_enc[j].abs())) * norms[j];
                least = least.max(key);
                most = most.max(key + 2.0 * lost);
            }
            bounds.push((least, most));
        }
    }
    bounds
}

/// The norm of each row, and that of what halving it loses.
fn norms_and_lost(rows: &[f64], d: usize) -> Vec<(f64, f64)> {
    let norm = |row: &[f64]| dot(row, row).sqrt();
    let of_row = |(row, (halves, unscale)): (&[f64], (Vec<f64>, f64))| {
        let lost: Vec<f64> = row.iter().zip(halves).map(|(value, half)| value - half * unscale).collect();
        (norm(row), norm(&lost))
    };
    rows.chunks_exact(d).zip(to_f16(rows, d)).map(of_row).collect()
}
