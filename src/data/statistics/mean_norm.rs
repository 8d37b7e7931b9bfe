//! The mean norm alone.

use super::{BLOCK_BYTES, squared_norm};
use crate::data::{Batches, FilteredRows, RowValues};
use crate::error::Result;

/// The mean Euclidean norm of rows whose values are all finite, as [`DataStatistics::mean_norm`] has it.
///
/// [`DataStatistics::mean_norm`]: super::DataStatistics::mean_norm
#[derive(Default)]
pub(in crate::data) struct MeanNorm {
    rows: u64,
    sum: f64,
}

impl MeanNorm {
    /// That of all selected rows, which are read once.
    ///
    /// # Errors
    /// Those of reading.
    pub fn of(rows: &FilteredRows) -> Result<Self> {
        let data = rows.data();
        let batch = (BLOCK_BYTES / (data.width() * data.dtype().bytes())).max(1);
        let mut norms = Self::default();
        for batch in Batches::in_order(rows.clone(), batch)? {
            norms.add(&batch?.rows, data.width());
        }
        Ok(norms)
    }

    /// Takes rows of `width` values.
    pub fn add(&mut self, rows: &RowValues, width: usize) {
        for row in rows.to_f32().chunks_exact(width) {
            let square = squared_norm(row);
            if square.is_finite() {
                self.rows += 1;
                self.sum += square.sqrt();
            }
        }
    }

    /// The mean; 0 without rows.
    pub fn mean(&self) -> f64 {
        self.sum / self.rows.max(1) as f64
    }
}
