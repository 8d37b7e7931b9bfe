use super::{Codes, row};

/// `x^_i = b_dec + sum_j a_ij v_j` as `[rows, d]`; `w_dec` is `[n, d]`, `b_dec` `[d]`.
pub fn decode(codes: &Codes, w_dec: &[f64], b_dec: &[f64], d: usize) -> Vec<f64> {
    let mut reconstruction = Vec::new();
    for (features, values) in codes.features.chunks_exact(codes.k).zip(codes.values.chunks_exact(codes.k)) {
        let mut x_hat = b_dec.to_vec();
        for (&j, a) in features.iter().zip(values) {
            for (x_hat, v) in x_hat.iter_mut().zip(row(w_dec, j as usize, d)) {
                *x_hat += a * v;
            }
        }
        reconstruction.extend(x_hat);
    }
    reconstruction
}
