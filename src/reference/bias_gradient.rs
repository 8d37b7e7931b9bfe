use super::{Runs, row};

/// The gradient of `b_dec`, `[d]`: `sum_i g_i`, and if the input was centred by `b_dec`, `- sum_j db_j w_j`.
///
/// `g` is `[rows, d]`, `b_enc_gradient` `[active]` in the order of `runs`, `w_enc` `[n, d]` as it was in the forward pass.
pub fn bias_gradient(
    g: &[f64],
    runs: &Runs,
    b_enc_gradient: &[f64],
    w_enc: &[f64],
    d: usize,
    input_centred: bool,
) -> Vec<f64> {
    let mut gradient = vec![0.0; d];
    for g in g.chunks_exact(d) {
        for (sum, g) in gradient.iter_mut().zip(g) {
            *sum += g;
        }
    }
    if input_centred {
        for (&j, db) in runs.features.iter().zip(b_enc_gradient) {
            for (sum, w) in gradient.iter_mut().zip(row(w_enc, j as usize, d)) {
                *sum -= db * w;
            }
        }
    }
    gradient
}
