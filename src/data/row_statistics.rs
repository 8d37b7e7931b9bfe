//! Mean and variance of rows, in one pass.

use super::RowsView;
use crate::storage::floats::decode;

/// Rows that are summed at a time: they fit a core's cache.
const BLOCK_ROWS: usize = 8;

/// Columns whose sums fit the registers of a core.
const LANES: usize = 8;

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
        let width = self.origin.len().max(1);
        debug_assert!(rows.len().is_multiple_of(width));
        if self.count == 0
            && let Some(first) = rows.get(..width)
        {
            self.origin.iter_mut().zip(first).for_each(|(o, &x)| *o = f64::from(x));
        }
        self.count += (rows.len() / width) as u64;
        for block in rows.chunks(BLOCK_ROWS * width) {
            self.add_block(block);
        }
    }

    /// Takes whole rows as they are stored, through `scratch`.
    pub(crate) fn add_stored(&mut self, rows: RowsView<'_>, scratch: &mut Vec<f32>) {
        let block = BLOCK_ROWS * self.origin.len();
        scratch.resize(block, 0.0);
        for start in (0..rows.len()).step_by(block.max(1)) {
            let rows = rows.slice(start..rows.len().min(start + block));
            let widened = &mut scratch[..rows.len()];
            decode(rows.dtype(), rows.bytes(), widened);
            self.add(widened);
        }
    }

    /// Takes a few rows, by columns that fit the registers.
    fn add_block(&mut self, rows: &[f32]) {
        let width = self.origin.len();
        let whole = width / LANES * LANES;
        for first in (0..whole).step_by(LANES) {
            let columns = first..first + LANES;
            let lanes = |values: &[f64]| -> [f64; LANES] { std::array::from_fn(|lane| values[first + lane]) };
            let (origin, mut sum, mut squares) = (lanes(&self.origin), lanes(&self.sum), lanes(&self.squares));
            for row in rows.chunks_exact(width) {
                let row = &row[columns.clone()];
                for lane in 0..LANES {
                    let offset = f64::from(row[lane]) - origin[lane];
                    sum[lane] += offset;
                    squares[lane] += offset * offset;
                }
            }
            self.sum[columns.clone()].copy_from_slice(&sum);
            self.squares[columns].copy_from_slice(&squares);
        }
        for column in whole..width {
            for row in rows.chunks_exact(width) {
                let offset = f64::from(row[column]) - self.origin[column];
                self.sum[column] += offset;
                self.squares[column] += offset * offset;
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
