//! The input dimension that a feature's activation correlates with best.

use std::ops::Range;

use super::statistics::Statistics;

/// An input dimension and a feature's correlation with it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BestDimension {
    /// The dimension.
    pub dimension: usize,
    /// Pearson's correlation over all rows; 0 where the feature or every dimension is constant.
    pub correlation: f64,
}

/// Sums over all rows of some input dimensions, each less a constant that changes no correlation.
#[derive(Clone, Debug)]
pub struct DimensionSums {
    dimensions: Range<usize>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl DimensionSums {
    /// Of no rows.
    pub fn new(dimensions: Range<usize>) -> Self {
        let zeros = vec![0.0; dimensions.len()];
        Self { dimensions, sums: zeros.clone(), squares: zeros }
    }

    /// Adds `[rows, d]` shifted rows.
    pub fn add(&mut self, rows: &[f32], d: usize) {
        for row in rows.chunks_exact(d) {
            for ((&value, sum), square) in
                row[self.dimensions.clone()].iter().zip(&mut self.sums).zip(&mut self.squares)
            {
                let value = f64::from(value);
                *sum += value;
                *square += value * value;
            }
        }
    }
}

/// Means and deviations of all dimensions.
pub struct Dimensions {
    rows: f64,
    means: Vec<f64>,
    /// 1 over the root of the sum of squares about the mean; 0 where the dimension is constant.
    inverse_norms: Vec<f64>,
}

impl Dimensions {
    /// From the sums of all dimensions, in order, over `rows` rows.
    pub fn new<'a>(sums: impl Iterator<Item = &'a DimensionSums>, rows: u64) -> Self {
        let rows = rows as f64;
        let (mut means, mut inverse_norms) = (Vec::new(), Vec::new());
        for sums in sums {
            for (&sum, &squares) in sums.sums.iter().zip(&sums.squares) {
                means.push(sum / rows);
                inverse_norms.push(inverse_norm(sum, squares, rows));
            }
        }
        Self { rows, means, inverse_norms }
    }

    /// The dimension with the greatest absolute correlation, the lowest of equals. `products` are the sums of
    /// activation times shifted value over the feature's active rows, `[d]`.
    pub fn best(&self, products: &[f32], statistics: &Statistics) -> BestDimension {
        let of_feature = inverse_norm(statistics.sum, statistics.sum_of_squares, self.rows);
        let mut best = BestDimension::default();
        for (dimension, ((&product, mean), inverse)) in
            products.iter().zip(&self.means).zip(&self.inverse_norms).enumerate()
        {
            let covariance = f64::from(product) - statistics.sum * mean;
            let correlation = (covariance * of_feature * inverse).clamp(-1.0, 1.0);
            if correlation.abs() > best.correlation.abs() {
                best = BestDimension { dimension, correlation };
            }
        }
        best
    }
}

/// 1 over the root of the sum of squares about the mean; 0 for what does not vary beyond the rounding of the sums.
fn inverse_norm(sum: f64, squares: f64, rows: f64) -> f64 {
    let about_mean = squares - sum * sum / rows;
    if about_mean > 1e-12 * squares { about_mean.sqrt().recip() } else { 0.0 }
}
