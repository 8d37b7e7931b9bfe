//! Mean and variance of rows, in one pass.

/// Running f64 sums of rows and of their squares in every dimension, both taken relative to the first row, so that a
/// large common offset costs no precision. The result does not depend on how the rows are split over calls.
#[derive(Clone, Debug)]
pub struct RowStatistics {
    count: u64,
    origin: Vec<f64>,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl RowStatistics {
    /// No rows yet, of `width` values each.
    pub fn new(width: usize) -> Self {
        Self { count: 0, origin: vec![0.0; width], sum: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Takes whole rows, `[count, width]`.
    pub fn add(&mut self, rows: &[f32]) {
        debug_assert!(rows.is_empty() || rows.len().is_multiple_of(self.origin.len()));
        for row in rows.chunks_exact(self.origin.len().max(1)) {
            if self.count == 0 {
                self.origin.iter_mut().zip(row).for_each(|(o, &x)| *o = f64::from(x));
            }
            self.count += 1;
            for (((&x, origin), sum), squares) in row.iter().zip(&self.origin).zip(&mut self.sum).zip(&mut self.squares)
            {
                let offset = f64::from(x) - origin;
                *sum += offset;
                *squares += offset * offset;
            }
        }
    }

    /// Rows taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean row, `[width]`; zeros before the first row.
    pub fn mean(&self) -> Vec<f64> {
        let count = self.count.max(1) as f64;
        self.origin.iter().zip(&self.sum).map(|(origin, sum)| origin + sum / count).collect()
    }

    /// Σ|x - mean|² over all rows (a sum, not divided by their number).
    pub fn total_variance(&self) -> f64 {
        self.variances().sum()
    }

    /// Σ(x - mean)² over all rows, for each dimension.
    pub fn variances(&self) -> impl Iterator<Item = f64> {
        let count = self.count.max(1) as f64;
        self.sum.iter().zip(&self.squares).map(move |(sum, squares)| (squares - sum * sum / count).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let mut statistics = RowStatistics::new(2);
        assert_eq!((statistics.mean(), statistics.total_variance()), (vec![0.0; 2], 0.0));
        statistics.add(&[1.0, 10.0, 2.0, 10.0]);
        statistics.add(&[6.0, 10.0]);
        assert_eq!((statistics.count(), statistics.mean(), statistics.total_variance()), (3, vec![3.0, 10.0], 14.0));
    }

    #[test]
    fn a_large_offset_costs_nothing() {
        let rows: Vec<f32> = (0..1001).map(|i| 1e7 + (i % 2) as f32).collect();
        let mut statistics = RowStatistics::new(1);
        statistics.add(&rows);
        let expected = 500.0 * 501.0 / 1001.0;
        assert!((statistics.total_variance() - expected).abs() < 1e-9 * expected);
    }
}
