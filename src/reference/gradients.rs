use super::{Codes, Runs, add_scaled, dot, row};

/// The gradients of the active features, in the order of [`Runs::features`]; those of all others are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// `dW_enc_j = sum_i s_ij c_i`, `[active, d]`.
    pub w_enc: Vec<f64>,
    /// `dW_dec_j = sum_i a_ij g_i`, projected if asked for, `[active, d]`.
    pub w_dec: Vec<f64>,
    /// `db_j = sum_i s_ij`, `[active]`.
    pub b_enc: Vec<f64>,
    /// `|dW_enc_j|² + |dW_dec_j|² + db_j²`, `[active]`.
    pub squared_norm: Vec<f64>,
}

/// Sums the entries of every active feature over its rows.
///
/// `s` is `[rows, k]` (see [`super::code_gradients`]), `centred` and `g` are `[rows, d]`, `w_dec` is `[n, d]` and `norms`
/// its row norms. `project` removes the part of `dW_dec_j` that is parallel to `v_j`: dictionary_learning's
/// `remove_gradient_parallel_to_decoder_directions`.
#[expect(clippy::too_many_arguments)]
pub fn gradients(
    runs: &Runs,
    codes: &Codes,
    s: &[f64],
    centred: &[f64],
    g: &[f64],
    w_dec: &[f64],
    norms: &[f64],
    d: usize,
    project: bool,
) -> Gradients {
    let mut gradients = Gradients { w_enc: Vec::new(), w_dec: Vec::new(), b_enc: Vec::new(), squared_norm: Vec::new() };
    for (j, entries) in runs.iter() {
        let mut w_enc = vec![0.0; d];
        let mut w_dec_gradient = vec![0.0; d];
        let mut b_enc = 0.0;
        for entry in entries.iter().map(|&entry| entry as usize) {
            let i = entry / codes.k;
            add_scaled(&mut w_enc, s[entry], row(centred, i, d));
            add_scaled(&mut w_dec_gradient, codes.values[entry], row(g, i, d));
            b_enc += s[entry];
        }
        if project {
            let direction: Vec<f64> = row(w_dec, j, d).iter().map(|v| v / (norms[j] + 1e-6)).collect();
            let parallel = dot(&w_dec_gradient, &direction);
            add_scaled(&mut w_dec_gradient, -parallel, &direction);
        }
        gradients.squared_norm.push(dot(&w_enc, &w_enc) + dot(&w_dec_gradient, &w_dec_gradient) + b_enc * b_enc);
        gradients.w_enc.extend(w_enc);
        gradients.w_dec.extend(w_dec_gradient);
        gradients.b_enc.push(b_enc);
    }
    gradients
}
