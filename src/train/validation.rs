//! Held-out quality of an SAE while it trains.

use super::Trainer;
use crate::data::{Batch, RowStatistics};
use crate::error::Result;
use crate::gpu::Program;

/// Quality of the reconstruction of held-out rows, as [`evaluate`](crate::apply::evaluate) defines it.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// Rows seen.
    pub tokens: u64,
    /// Fraction of variance unexplained, about the mean of all these rows.
    pub fvu: f64,
    /// Active features per row.
    pub l0: f64,
}

impl Trainer {
    /// Measures the SAE as it is after every step submitted, on batches of at most as many rows as a step takes. The
    /// training continues with the same bits.
    ///
    /// # Errors
    /// Those of the batches; [`crate::Error::Diverged`] if a row's error is not finite, with the row's place among all.
    ///
    /// # Panics
    /// When a step is under way ([`Trainer::next_finished`]).
    pub fn validate(&mut self, batches: impl IntoIterator<Item = Result<Batch>>) -> Result<Validation> {
        assert!(!self.is_ahead(), "a step is under way");
        let mut statistics = RowStatistics::new(self.step.parameters().config().d_in);
        let (mut squared_error, mut active, mut scratch) = (0.0, 0.0, Vec::new());
        let mut recorded: Option<(usize, Program)> = None;
        for batch in batches {
            let batch = batch?;
            let program = match recorded.take() {
                Some((count, program)) if count == batch.count => program,
                _ => self.step.held_out_program(&self.gpu, batch.count as u32)?,
            };
            let measured = self.step.run_held_out(&self.gpu, &program, batch.rows.view());
            let measured = measured.map_err(|error| error.after_rows(statistics.count()))?;
            for [error, _, _, fired] in measured {
                squared_error += f64::from(error);
                active += f64::from(fired);
            }
            statistics.add_stored(batch.rows.view(), &mut scratch);
            recorded = Some((batch.count, program));
        }
        let tokens = statistics.count();
        let variance = statistics.total_variance() * self.row_scale().powi(2);
        Ok(Validation { tokens, fvu: squared_error / variance, l0: active / tokens as f64 })
    }
}
