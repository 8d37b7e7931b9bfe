//! Rows that are found by their values: of a large norm, or not finite.

use serde::{Deserialize, Serialize};

use super::{Activations, RowFilter, RowValues};
use crate::error::{Error, Result};
use crate::storage::tensor_file::CHUNK_BYTES;

/// Numbers of rows, ascending.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnusualRows {
    /// Rows whose norm is above a multiple of the median.
    pub too_large: Vec<u64>,
    /// Rows with a value that is not finite.
    pub not_finite: Vec<u64>,
}

impl UnusualRows {
    /// Finds those that a filter leaves out, in one pass.
    ///
    /// # Errors
    /// [`Error::Config`] for a median norm of 0; [`Error::Data`] for a value that is not finite, unless the filter
    /// leaves such rows out; [`Error::Io`].
    pub fn find(data: &Activations, filter: &RowFilter) -> Result<Self> {
        let Norms { norms, not_finite } = Norms::of(data, filter.skip_bad)?;
        let Some(limit) = filter.max_norm else { return Ok(Self { too_large: Vec::new(), not_finite }) };
        let mut finite: Vec<f32> = norms.clone();
        for &row in not_finite.iter().rev() {
            finite.swap_remove(row as usize);
        }
        if finite.is_empty() {
            return Ok(Self { too_large: Vec::new(), not_finite });
        }
        let median = median(&mut finite);
        if median == 0.0 {
            return Err(Error::Config(
                "the median norm of the rows is 0, so that no multiple of it can be the largest norm: \
                 leave the largest norm away, or remove the rows of zeros"
                    .into(),
            ));
        }
        let numbered = (0..).zip(norms).filter(|(row, _)| not_finite.binary_search(row).is_err());
        let too_large = numbered.filter(|&(_, norm)| f64::from(norm) > limit * median).map(|(row, _)| row).collect();
        Ok(Self { too_large, not_finite })
    }
}

/// The Euclidean norm of every row.
struct Norms {
    norms: Vec<f32>,
    /// Rows whose norm means nothing.
    not_finite: Vec<u64>,
}

impl Norms {
    fn of(data: &Activations, skip_bad: bool) -> Result<Self> {
        let width = data.width();
        let count = (CHUNK_BYTES / 4 / width).max(1);
        let (mut norms, mut not_finite) = (Vec::with_capacity(data.rows() as usize), Vec::new());
        let mut rows = Vec::new();
        for first in (0..data.rows()).step_by(count) {
            rows.clear();
            rows.extend((first..data.rows()).take(count));
            let mut values = RowValues::zeroed(data.dtype(), rows.len() * width);
            match skip_bad {
                false => data.read_values(&rows, &mut values)?,
                true => {
                    data.read_unchecked(&rows, &mut values)?;
                    let bad = |row: &u64| {
                        let at = (row - first) as usize * width;
                        values.view().slice(at..at + width).first_not_finite().is_some()
                    };
                    if values.view().first_not_finite().is_some() {
                        not_finite.extend(rows.iter().filter(|row| bad(row)));
                    }
                }
            }
            norms.extend(values.to_f32().chunks_exact(width).map(norm));
        }
        Ok(Self { norms, not_finite })
    }
}

fn norm(row: &[f32]) -> f32 {
    // Eight sums at once fill a vector register.
    let mut lanes = [0.0_f64; 8];
    for values in row.chunks(lanes.len()) {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    lanes.iter().sum::<f64>().sqrt() as f32
}

/// The median of at least one value, which are left in another order.
fn median(values: &mut [f32]) -> f64 {
    let middle = values.len() / 2;
    let is_even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    let lower = below.iter().copied().max_by(f32::total_cmp).filter(|_| is_even).unwrap_or(upper);
    (f64::from(lower) + f64::from(upper)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_exact() {
        for (values, expected) in [
            (&mut [3.0][..], 3.0),
            (&mut [4.0, 1.0], 2.5),
            (&mut [9.0, 1.0, 2.0], 2.0),
            (&mut [8.0, 1.0, 2.0, 7.0], 4.5),
        ] {
            assert_eq!(median(values), expected);
        }
    }

    #[test]
    fn norms_are_euclidean() {
        for width in [1, 7, 8, 9, 21] {
            let row: Vec<f32> = (0..width).map(|at| at as f32 - 3.0).collect();
            let squares: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
            assert_eq!(norm(&row), squares.sqrt() as f32);
        }
    }
}
