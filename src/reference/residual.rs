use super::dot;

/// The difference of a reconstruction from its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// `g = (2 / batch) (x^ - x)`, the loss's gradient with respect to the reconstruction, `[rows, d]`.
    pub gradient: Vec<f64>,
    /// `|x^ - x|²` of each row.
    pub squared_error: Vec<f64>,
    /// `x · x^` of each row.
    pub dot: Vec<f64>,
    /// `|x^|²` of each row.
    pub squared_norm: Vec<f64>,
}

/// Compares `reconstruction` with `x`, both `[rows, d]`; `batch` is the number of rows that the loss is the mean over.
pub fn residual(reconstruction: &[f64], x: &[f64], d: usize, batch: usize) -> Residual {
    let mut residual =
        Residual { gradient: Vec::new(), squared_error: Vec::new(), dot: Vec::new(), squared_norm: Vec::new() };
    for (x_hat, x) in reconstruction.chunks_exact(d).zip(x.chunks_exact(d)) {
        let error: Vec<f64> = x_hat.iter().zip(x).map(|(x_hat, x)| x_hat - x).collect();
        residual.gradient.extend(error.iter().map(|e| 2.0 / batch as f64 * e));
        residual.squared_error.push(dot(&error, &error));
        residual.dot.push(dot(x, x_hat));
        residual.squared_norm.push(dot(x_hat, x_hat));
    }
    residual
}
