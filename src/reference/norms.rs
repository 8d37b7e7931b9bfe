use super::dot;

/// `|v_j|` of every row of `w_dec` `[n, d]`.
pub fn norms(w_dec: &[f64], d: usize) -> Vec<f64> {
    w_dec.chunks_exact(d).map(|v| dot(v, v).sqrt()).collect()
}
