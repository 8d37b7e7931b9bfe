//! What rows are multiplied by so that their mean norm is sqrt(d).

use std::path::Path;

use super::{Source, TrainingRows};
use crate::data::batches::check_stretch;
use crate::data::statistics::MeanNorm;
use crate::data::{DataStatistics, Stretch};
use crate::error::{Error, Result};

impl TrainingRows {
    /// The mean norm of the rows as it is kept beside the data at `path`, from which alone they were opened
    /// ([`DataStatistics::read_beside`]); nothing if some of the rows there are left out.
    ///
    /// # Errors
    /// As [`DataStatistics::read_beside`].
    pub fn kept_mean_norm(&self, path: &Path) -> Result<Option<f64>> {
        match &self.source {
            Source::Table(table) => {
                let exclusion = table.exclusion();
                // What is not finite has no part in the statistics.
                if exclusion.rows_excluded_by_token + exclusion.rows_excluded_by_norm > 0 {
                    return Ok(None);
                }
                Ok(DataStatistics::read_beside(path, table.data())?.map(|statistics| statistics.mean_norm))
            }
            #[cfg(feature = "arrow")]
            Source::Stream(_) => Ok(None),
        }
    }

    /// The mean Euclidean norm of the rows whose values are all finite, in f64: of a table, which is read once, of all
    /// rows that are not left out; of a stream, of the first batches of a stretch that hold 16,384 rows, which
    /// [`Self::batches`] then gives.
    ///
    /// # Errors
    /// As [`Self::batches`], and those of the rows.
    pub fn mean_norm(&self, stretch: Stretch) -> Result<f64> {
        let norms = match &self.source {
            Source::Table(table) => {
                // Before all of it is read.
                check_stretch(&stretch, Some(table.rows()))?;
                MeanNorm::of(table)?
            }
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => stream.mean_norm(self.order, stretch)?,
        };
        Ok(norms.mean())
    }

    /// The factor that makes this mean norm sqrt(d) (Anthropic, April 2024).
    ///
    /// # Errors
    /// [`Error::Data`] if there is none, as for rows of zeros.
    pub fn row_scale(&self, mean_norm: f64) -> Result<f32> {
        let scale = ((self.kind().width as f64).sqrt() / mean_norm) as f32;
        if scale.is_normal() {
            return Ok(scale);
        }
        let problem = format!(
            "the mean norm of the rows is {mean_norm}, which no factor makes sqrt(d): compute the rows again, or train on \
             them as they are (--normalize-activations none)"
        );
        let identity = self.identity()?;
        let path = identity.first().map(|file| file.path.clone()).unwrap_or_default();
        Err(Error::data(path, problem))
    }
}
