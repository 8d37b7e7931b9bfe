use super::{dot, row};

/// `u_ij = w_j · c_i + b_j` as `[rows, n]`; `centred` is `[rows, d]`, `w_enc` `[n, d]`, `b_enc` `[n]`.
pub fn encode(centred: &[f64], w_enc: &[f64], b_enc: &[f64], d: usize) -> Vec<f64> {
    let mut u = Vec::with_capacity(centred.len() / d * b_enc.len());
    for c in centred.chunks_exact(d) {
        for (j, b) in b_enc.iter().enumerate() {
            u.push(dot(row(w_enc, j, d), c) + b);
        }
    }
    u
}
