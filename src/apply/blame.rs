//! Names the row of the data that an error is about.

use crate::data::FilteredRows;
use crate::error::Error;

/// The error about a row of a batch as one about its file, if it is such; `before` of `rows` came before the batch.
pub fn blame_row(error: Error, rows: &FilteredRows, before: u64) -> Error {
    let Error::Diverged { row: Some(row), what, .. } = &error else { return error };
    let mut row = rows.row(before + row);
    for (path, count) in rows.data().row_counts() {
        match row.checked_sub(count) {
            Some(rest) => row = rest,
            None => {
                let cure = "its values are too large for f32; scale the rows down, or leave rows of extreme norm out";
                return Error::data(path, format!("row {row}: {what}: {cure}"));
            }
        }
    }
    error
}
