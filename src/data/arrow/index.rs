//! Where each record batch of a file has its rows and the values beside them.

use std::path::Path;

use super::layout::{Fault, Layout};
use super::messages::BatchMessage;
use super::schema::Schema;
use super::selection::rows_column;
use crate::error::{Error, Result};
use crate::storage::file_pool::PooledFile;

/// The places of the batches that were seen.
#[derive(Debug)]
pub(super) struct Index {
    pub rows: Layout,
    pub side: Vec<SideColumn>,
    pub batches: Vec<IndexedBatch>,
    /// Of all batches.
    pub items: u64,
    pub rows_label: String,
}

/// A column beside the rows.
#[derive(Debug)]
pub(super) struct SideColumn {
    pub name: String,
    pub type_name: String,
    /// If its values can be read.
    pub layout: Option<Layout>,
}

/// Where a batch that is not empty has its values in the file.
#[derive(Debug)]
pub(super) struct IndexedBatch {
    /// The number of its first item: of a row, or of a context.
    pub first_item: u64,
    pub rows: u64,
    /// Those of each of [`Index::side`]; 0 for a column that cannot be read.
    pub side: Box<[u64]>,
}

impl Index {
    /// The index of no batch, of a file whose column `name` holds the rows.
    pub(super) fn new(schema: &Schema, path: &Path, name: &str) -> Result<Self> {
        let mut layouts = Layout::of_columns(schema);
        let at = rows_column(schema, &layouts, name).map_err(|problem| Error::data(path, problem))?;
        let Some(rows) = layouts[at].take() else {
            return Err(Error::data(path, "has no column of rows"));
        };
        let others = schema.fields.iter().zip(layouts).enumerate().filter(|(place, _)| *place != at);
        let side = others.map(|(_, (field, layout))| SideColumn {
            name: field.name.clone(),
            type_name: field.type_name.clone(),
            layout: layout.filter(|layout| layout.rank() <= 1),
        });
        let rows_label = format!("column `{}`", crate::storage::header::printable(&rows.name));
        Ok(Self { rows, side: side.collect(), batches: Vec::new(), items: 0, rows_label })
    }

    /// Adds the next batch.
    pub(super) fn add(&mut self, file: &PooledFile, message: &BatchMessage) -> Result<()> {
        let (batch, place) = (&message.batch, message.place(file.path()));
        let read = |offset: u64, out: &mut [u8]| file.read("a list's offsets", message.body + offset, out);
        // The body lies in the file.
        let in_file = |offset: u64| message.body + offset;
        let rows = self.rows.values(batch, read).map_err(|fault| fault.of_column(&self.rows.name, place))?;
        let mut side = Vec::with_capacity(self.side.len());
        for column in &mut self.side {
            side.push(column.values(batch, read).map_err(|fault| fault.of_column(&column.name, place))?);
        }
        if batch.items == 0 {
            return Ok(());
        }
        let first_item = self.items;
        self.items = first_item.checked_add(batch.items).ok_or_else(|| place.refuse("has too many rows to count"))?;
        let side = side.into_iter().map(|offset| offset.map_or(0, in_file));
        self.batches.push(IndexedBatch { first_item, rows: in_file(rows), side: side.collect() });
        Ok(())
    }
}

impl SideColumn {
    /// Where a batch has its values, unless they are such that the column cannot be read.
    fn values(
        &mut self,
        batch: &super::message::Batch,
        read: impl FnMut(u64, &mut [u8]) -> Result<()>,
    ) -> std::result::Result<Option<u64>, Fault> {
        let Some(layout) = &mut self.layout else { return Ok(None) };
        let note = match layout.values(batch, read) {
            Ok(offset) => return Ok(Some(offset)),
            Err(Fault::Nulls) => "with nulls",
            Err(Fault::Lengths { .. }) => "of several lengths",
            Err(fault) => return Err(fault),
        };
        self.type_name = format!("{} {note}", self.type_name);
        self.layout = None;
        Ok(None)
    }
}
