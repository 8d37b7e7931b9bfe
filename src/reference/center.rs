/// `c_i = x_i - b_dec` for every row of `x` `[rows, d]`; `b_dec` is `[d]`.
pub fn center(x: &[f64], b_dec: &[f64]) -> Vec<f64> {
    x.chunks_exact(b_dec.len()).flat_map(|x| x.iter().zip(b_dec).map(|(x, b)| x - b)).collect()
}
