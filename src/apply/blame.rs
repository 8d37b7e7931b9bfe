//! Names the row of the data that an error is about.

use crate::data::FilteredRows;
use crate::error::Error;

/// The error about a row of a batch as one about its file, if it is such; `before` of `rows` came before the batch.
pub fn blame_row(error: Error, rows: &FilteredRows, before: u64) -> Error {
    let Error::Diverged { row: Some(row), file: None, what, .. } = error else { return error };
    match rows.data().place_of(rows.row(before + row)) {
        Some((path, row)) => {
            let cure = "its values are too large for f32; scale the rows down, or leave rows of extreme norm out";
            Error::data(path, format!("row {row}: {what}: {cure}"))
        }
        None => error,
    }
}
