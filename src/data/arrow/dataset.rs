//! A file of Arrow's: its record batches are found when it is opened, and their rows read by position.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::index::{Index, IndexedBatch, SideColumn};
use super::layout::Layout;
use super::messages::Messages;
use super::schema::Schema;
use crate::data::Activations;
use crate::data::reader::{Column, Reader};
use crate::error::{Error, Result};
use crate::storage::file_pool::{FilePool, PooledFile};
use crate::storage::header::printable;
use crate::storage::{Dtype, checksum};

/// A file whose batches have the rows that they say.
#[derive(Debug)]
pub(in crate::data) struct ArrowReader {
    file: PooledFile,
    label: String,
    shape: Shape,
    dtype: Dtype,
    batches: Vec<IndexedBatch>,
    columns: Vec<Column>,
    sources: Vec<Source>,
    metadata: BTreeMap<String, String>,
}

/// How many rows there are, and of how many values.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Contexts, or rows.
    items: u64,
    /// Rows of a context, or 1.
    item_rows: u64,
    width: usize,
}

/// Where the values of a column come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// From [`IndexedBatch::side`].
    Stored(usize),
    /// The number of a row's context in the file.
    Sequence,
    /// A row's place in its context.
    Position,
    Unreadable,
}

impl ArrowReader {
    /// Opens the file `path`, a stream or a file of Arrow's, whose column `name` holds the rows: as lists [width], or
    /// lists [tokens of a context] of lists [width]. Without such a column, the only one that can hold rows is taken.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for a file that is damaged or compressed, and for a column whose lists are
    /// not of one length, or not of f16, f32, or u16 whose metadata says that it is bf16.
    pub fn open(pool: &Arc<FilePool>, path: &Path, name: &str) -> Result<Self> {
        let mut messages = Messages::new(PooledFile::open(path, pool)?)?;
        let schema = messages.schema()?;
        let extent = schema.extent();
        let mut index = Index::new(&schema, path, name)?;
        while let Some(message) = messages.next_batch(extent)? {
            index.add(messages.file(), &message)?;
        }
        let file = messages.into_file();
        let shape = Shape::of(&index).map_err(|problem| Error::data(path, problem))?;
        let (columns, sources) = columns(&index, shape);
        let metadata = metadata(schema, &index, shape);
        let Index { rows: Layout { dtype, .. }, batches, rows_label: label, .. } = index;
        Ok(Self { file, label, shape, dtype, batches, columns, sources, metadata })
    }

    fn row_bytes(&self) -> usize {
        self.shape.width * self.dtype.bytes()
    }

    fn first_row(&self, batch: &IndexedBatch) -> u64 {
        batch.first_item * self.shape.item_rows
    }

    fn batch_of(&self, row: u64) -> usize {
        self.batches.partition_point(|batch| self.first_row(batch) <= row).saturating_sub(1)
    }

    /// Fills `out` with what each row has `row_bytes` of, from row `first` on, given where each batch has it.
    fn read_rows(
        &self,
        part: &str,
        first: u64,
        row_bytes: usize,
        start: impl Fn(&IndexedBatch) -> u64,
        mut out: &mut [u8],
    ) -> Result<()> {
        let mut row = first;
        let mut at = self.batch_of(first);
        while !out.is_empty() {
            let end = self.batches.get(at + 1).map_or(self.rows(), |next| self.first_row(next));
            // The rows exist.
            let batch = &self.batches[at];
            let wanted = (out.len() / row_bytes).min((end - row) as usize);
            let (these, rest) = out.split_at_mut(wanted * row_bytes);
            let offset = start(batch) + (row - self.first_row(batch)) * row_bytes as u64;
            self.file.read(part, offset, these)?;
            (out, row, at) = (rest, end, at + 1);
        }
        Ok(())
    }
}

impl Reader for ArrowReader {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn bytes(&self) -> u64 {
        self.file.size()
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn rows(&self) -> u64 {
        // Their values lie in the file, so that they can be counted.
        self.shape.items * self.shape.item_rows
    }

    fn width(&self) -> usize {
        self.shape.width
    }

    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn read(&self, first: u64, out: &mut [u8]) -> Result<()> {
        self.read_rows(&self.label, first, self.row_bytes(), |batch| batch.rows, out)
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn read_column(&self, column: usize, first: u64, out: &mut [u8]) -> Result<()> {
        let Column { name, .. } = &self.columns[column];
        let per_context = |row: u64| (row / self.shape.item_rows, row % self.shape.item_rows);
        let numbers = out.chunks_exact_mut(size_of::<u32>()).zip(first..);
        match self.sources[column] {
            Source::Stored(stored) => {
                let row_bytes = self.columns[column].row_bytes(self.rows()).unwrap_or(1);
                let part = format!("column `{}`", printable(name));
                return self.read_rows(&part, first, row_bytes, |batch| batch.side[stored], out);
            }
            // Their number was checked.
            Source::Sequence => {
                numbers.for_each(|(out, row)| out.copy_from_slice(&(per_context(row).0 as u32).to_le_bytes()));
            }
            Source::Position => {
                numbers.for_each(|(out, row)| out.copy_from_slice(&(per_context(row).1 as u32).to_le_bytes()));
            }
            Source::Unreadable => {
                let problem = format!("column `{}` is of a type that cannot be read", printable(name));
                return Err(Error::data(self.path(), problem));
            }
        }
        Ok(())
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn header_checksum(&self) -> String {
        let columns = self.columns.iter().map(|column| (&column.name, &column.type_name, &column.shape));
        let header = serde_json::json!({
            "rows": [self.label, self.dtype, self.rows(), self.width()],
            "columns": columns.collect::<Vec<_>>(),
            "metadata": self.metadata,
        });
        checksum(header.to_string().as_bytes())
    }
}

impl Shape {
    fn of(index: &Index) -> std::result::Result<Self, String> {
        let label = &index.rows_label;
        let Some(lengths) = index.rows.lengths() else {
            return Err(format!("{label} has no rows, so that nothing tells their width; leave the file out"));
        };
        let (item_rows, width) = match lengths[..] {
            [width @ (1..)] => (1, width),
            [item_rows @ (1..), width @ (1..)] => (item_rows, width),
            _ => return Err(format!("{label} has empty lists; give rows of at least one value")),
        };
        let is_short = |width: &usize| *width <= isize::MAX as usize / size_of::<f32>();
        let width = usize::try_from(width).ok().filter(is_short);
        let width = width.ok_or_else(|| format!("{label} has rows too wide for this system"))?;
        if item_rows > u64::from(u32::MAX) || index.items > u64::from(u32::MAX) && index.rows.rank() == 2 {
            return Err(format!("{label} has more contexts, or tokens of one, than 2^32; write several files"));
        }
        Ok(Self { items: index.items, item_rows, width })
    }

    fn rows(self) -> u64 {
        // Their values lie in the file, so that they can be counted.
        self.items * self.item_rows
    }
}

/// The columns beside the rows, and where their values come from.
fn columns(index: &Index, shape: Shape) -> (Vec<Column>, Vec<Source>) {
    let stored = index.side.iter().enumerate().map(|(place, side)| {
        let column = stored_column(side, shape);
        let is_readable = column.row_bytes(shape.rows()).is_some_and(|bytes| bytes > 0);
        (column, if is_readable { Source::Stored(place) } else { Source::Unreadable })
    });
    let made = [("sequence", Source::Sequence), ("position", Source::Position)].into_iter();
    let made = made.filter(|(name, _)| index.rows.rank() == 2 && index.side.iter().all(|side| side.name != *name));
    let made = made.map(|(name, source)| {
        let (dtype, shape) = (Some(Dtype::U32), vec![shape.rows() as usize]);
        (Column { name: name.into(), type_name: "uint32".into(), dtype, shape }, source)
    });
    stored.chain(made).unzip()
}

fn stored_column(side: &SideColumn, shape: Shape) -> Column {
    let lengths = side.layout.as_ref().and_then(Layout::lengths);
    let dimensions = match lengths.as_deref() {
        // A value for each token of a context.
        Some(&[length]) if length == shape.item_rows && shape.item_rows > 1 => vec![shape.rows()],
        Some(lengths) => [&[shape.items], lengths].concat(),
        None => vec![shape.items],
    };
    Column {
        name: side.name.clone(),
        type_name: side.type_name.clone(),
        dtype: lengths.and(side.layout.as_ref()).map(|layout| layout.dtype),
        shape: dimensions.into_iter().map(|length| length as usize).collect(),
    }
}

/// The schema's metadata, and what the column's name and shape say, as SAELens has it.
fn metadata(schema: Schema, index: &Index, shape: Shape) -> BTreeMap<String, String> {
    let mut metadata = schema.metadata;
    if index.rows.rank() == 2 {
        metadata.insert("context_size".into(), shape.item_rows.to_string());
        if index.rows.name != Activations::TENSOR {
            metadata.entry("hook_name".into()).or_insert_with(|| index.rows.name.clone());
        }
    }
    metadata
}

#[cfg(test)]
mod tests;
