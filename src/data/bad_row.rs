//! What to say of a row that cannot be computed with.

use super::Activations;
use crate::error::{Divergence, Error};

/// The error for a row of the data whose numbers were not finite on the device: the data's if the row itself is to
/// blame, else that of the training, with the row's place in its file.
pub(crate) fn blame_row(data: &Activations, row: u64, step: Option<u64>, what: Divergence) -> Error {
    let Some((path, number)) = data.place_of(row) else {
        return Error::Diverged { step, row: Some(row), file: None, what };
    };
    let mut values = vec![0.0; data.width()];
    if let Err(error) = data.read(&[row], &mut values) {
        return error;
    }
    let square: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    if square > f64::from(f32::MAX) {
        let norm = square.sqrt();
        let problem = format!(
            "row {number} has a norm of {norm:.3e}, whose square is too large for f32: remove it, or exclude rows of \
             extreme norm (--max-norm)"
        );
        return Error::data(path, problem);
    }
    Error::Diverged { step, row: Some(number), file: Some(path.to_owned()), what }
}
