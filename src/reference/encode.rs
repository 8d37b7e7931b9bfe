use super::{dot, relu, row};

/// `u_ij = w_j · c_i + b_j` as `[rows, n]`, rectified if `relu`; `centred` is `[rows, d]`, `w_enc` `[n, d]`, `b_enc` `[n]`.
pub fn encode(centred: &[f64], w_enc: &[f64], b_enc: &[f64], d: usize, relu: bool) -> Vec<f64> {
    let mut u = Vec::with_capacity(centred.len() / d * b_enc.len());
    for c in centred.chunks_exact(d) {
        for (j, b) in b_enc.iter().enumerate() {
            let pre_activation = dot(row(w_enc, j, d), c) + b;
            u.push(if relu { self::relu(pre_activation) } else { pre_activation });
        }
    }
    u
}
