//! The rows that a run trains on, wherever they come from.

use std::sync::Arc;

use super::{Activations, Batches, Exclusion, FileIdentity, FilteredRows, OrderChoice, Provenance, RowOrder, Stretch};
use crate::data::blame_row;
use crate::error::{Divergence, Error, Result};

/// Rows and their order.
#[derive(Clone, Debug)]
pub struct TrainingRows {
    table: FilteredRows,
    order: RowOrder,
}

impl From<FilteredRows> for TrainingRows {
    /// Rows of a table, in the order that is chosen for them.
    fn from(table: FilteredRows) -> Self {
        let order = RowOrder::new(OrderChoice::Auto, table.data(), RowOrder::BUFFER_BYTES);
        Self { table, order }
    }
}

impl From<Arc<Activations>> for TrainingRows {
    fn from(data: Arc<Activations>) -> Self {
        FilteredRows::from(data).into()
    }
}

impl TrainingRows {
    /// The same rows in another order.
    pub fn in_order(self, order: RowOrder) -> Self {
        Self { order, ..self }
    }

    /// Their order.
    pub fn order(&self) -> RowOrder {
        self.order
    }

    /// The batches of a stretch of them.
    ///
    /// # Errors
    /// As [`Batches::shuffled`].
    pub fn batches(&self, stretch: Stretch) -> Result<Batches> {
        Batches::shuffled(self.table.clone(), self.order, stretch)
    }

    /// Number of rows of an epoch.
    pub fn rows(&self) -> u64 {
        self.table.rows()
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.table.data().width()
    }

    /// Where they come from.
    pub fn provenance(&self) -> &Provenance {
        self.table.data().provenance()
    }

    /// The numbers of rows left out.
    pub fn exclusion(&self) -> Exclusion {
        self.table.exclusion()
    }

    /// What tells them from any others.
    ///
    /// # Errors
    /// As [`Activations::identity`].
    pub fn identity(&self) -> Result<Vec<FileIdentity>> {
        self.table.data().identity()
    }

    /// The error for a row whose numbers were not finite on the device in a step.
    pub(crate) fn blame(&self, row: u64, step: Option<u64>, what: Divergence) -> Error {
        blame_row(self.table.data(), row, step, what)
    }
}
