//! The rows that a run trains on, wherever they come from.

mod scale;

use std::sync::Arc;

#[cfg(feature = "arrow")]
use super::RowStream;
use super::{
    Activations, Batches, Exclusion, FileIdentity, FilteredRows, OrderChoice, Provenance, RowKind, RowOrder, Stretch,
    blame_row,
};
use crate::data::batches::check_stretch;
use crate::error::{Divergence, Error, Result};

/// Rows and their order.
#[derive(Clone, Debug)]
pub struct TrainingRows {
    source: Source,
    order: RowOrder,
}

#[derive(Clone, Debug)]
enum Source {
    Table(FilteredRows),
    #[cfg(feature = "arrow")]
    Stream(Arc<RowStream>),
}

impl From<FilteredRows> for TrainingRows {
    /// Rows of a table, in the order that is chosen for them.
    fn from(table: FilteredRows) -> Self {
        Self::new(Source::Table(table))
    }
}

impl From<Arc<Activations>> for TrainingRows {
    fn from(data: Arc<Activations>) -> Self {
        FilteredRows::from(data).into()
    }
}

#[cfg(feature = "arrow")]
impl From<RowStream> for TrainingRows {
    /// Rows of a stream, in the order that is chosen for them.
    fn from(stream: RowStream) -> Self {
        Self::new(Source::Stream(Arc::new(stream)))
    }
}

impl TrainingRows {
    fn new(source: Source) -> Self {
        let this = Self { source, order: RowOrder::Rows };
        let order = RowOrder::new(OrderChoice::Auto, this.kind(), RowOrder::BUFFER_BYTES);
        this.in_order(order)
    }

    /// The same rows in another order.
    pub fn in_order(self, order: RowOrder) -> Self {
        Self { order, ..self }
    }

    /// Their order.
    pub fn order(&self) -> RowOrder {
        self.order
    }

    /// What the order follows from.
    pub fn kind(&self) -> RowKind {
        match &self.source {
            Source::Table(table) => table.data().kind(),
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => {
                RowKind { rows: None, width: stream.width(), dtype: stream.dtype(), is_shuffled: stream.is_shuffled() }
            }
        }
    }

    /// The batches of a stretch of them. Those of a stream can be had once.
    ///
    /// # Errors
    /// As [`Batches::shuffled`]; [`Error::Config`] for a stream that was read already, or in an order that it cannot
    /// have.
    pub fn batches(&self, stretch: Stretch) -> Result<Batches> {
        match &self.source {
            Source::Table(table) => Batches::shuffled(table.clone(), self.order, stretch),
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => stream.batches(self.order, stretch),
        }
    }

    /// Waits for the first rows of a stretch of a stream, which [`Self::batches`] then gives; those of a table are
    /// there.
    ///
    /// # Errors
    /// As [`Self::batches`], and those of the rows.
    pub(crate) fn start(&self, stretch: Stretch) -> Result<()> {
        match &self.source {
            Source::Table(table) => check_stretch(&stretch, Some(table.rows())),
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => stream.start(self.order, stretch),
        }
    }

    /// Bytes of the mixing buffer that their order needs: two windows, of no more rows than there are.
    pub fn buffer_bytes(&self) -> u64 {
        let RowOrder::Mixed { .. } = self.order else { return 0 };
        let kind = self.kind();
        let rows = self.order.window_rows().min(kind.rows.unwrap_or(u64::MAX));
        rows.saturating_mul(2 * (kind.width * kind.dtype.bytes()) as u64)
    }

    /// Number of rows of an epoch; none of a stream.
    pub fn rows(&self) -> Option<u64> {
        match &self.source {
            Source::Table(table) => Some(table.rows()),
            #[cfg(feature = "arrow")]
            Source::Stream(_) => None,
        }
    }

    /// Where they come from.
    pub fn provenance(&self) -> &Provenance {
        match &self.source {
            Source::Table(table) => table.data().provenance(),
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => stream.provenance(),
        }
    }

    /// The numbers of rows left out; of a stream, so far.
    pub fn exclusion(&self) -> Exclusion {
        match &self.source {
            Source::Table(table) => table.exclusion(),
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => stream.exclusion(),
        }
    }

    /// What tells them from any others.
    ///
    /// # Errors
    /// As [`Activations::identity`].
    pub fn identity(&self) -> Result<Vec<FileIdentity>> {
        match &self.source {
            Source::Table(table) => table.data().identity(),
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => Ok(vec![stream.identity().clone()]),
        }
    }

    /// The error for a row whose numbers were not finite on the device in a step.
    pub(crate) fn blame(&self, row: u64, step: Option<u64>, what: Divergence) -> Error {
        match &self.source {
            Source::Table(table) => blame_row(table.data(), row, step, what),
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => {
                Error::Diverged { step, row: Some(row), file: Some(stream.name().to_owned()), what }
            }
        }
    }

    /// Whether rows that ended can be followed by more of them: those of a mixing buffer that was not full cannot.
    pub(crate) fn can_go_on(&self) -> bool {
        !matches!(self.order, RowOrder::Mixed { .. })
    }

    /// The error for rows that end before the steps of a run do.
    pub(crate) fn ended(&self, step: u64, steps: u64) -> Error {
        let cure = if self.can_go_on() {
            "send more of them, or take fewer steps; the run resumes with a longer stream that begins with the same \
             rows"
        } else {
            "start again with more of them, or with fewer steps; it cannot resume, because more rows would have been \
             mixed otherwise"
        };
        let problem = format!("the rows end after step {step} of {steps}: {cure}");
        match &self.source {
            // A table never ends.
            Source::Table(_) => Error::Config(problem),
            #[cfg(feature = "arrow")]
            Source::Stream(stream) => Error::data(stream.name(), problem),
        }
    }
}
