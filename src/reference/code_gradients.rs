use super::{Codes, dot, row};

/// `s_ij = g_i · v_j` for every entry with a value above 0, else 0: the loss's gradient with respect to `u_ij`.
///
/// `g` is `[rows, d]`, `w_dec` `[n, d]`; the result is `[rows, k]`. Rescaling by the decoder norm does not change it:
/// the norm multiplies the key and divides the decoder row, so it cancels.
pub fn code_gradients(codes: &Codes, g: &[f64], w_dec: &[f64], d: usize) -> Vec<f64> {
    let entries = codes.features.iter().zip(&codes.values).enumerate();
    entries
        .map(|(entry, (&j, &a))| if a > 0.0 { dot(row(g, entry / codes.k, d), row(w_dec, j as usize, d)) } else { 0.0 })
        .collect()
}
