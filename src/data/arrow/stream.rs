//! A stream of Arrow's from a pipe: record batches, one after another, of rows and integers beside them.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::input::{Input, NAME, refuse};
use super::layout::{BatchPlace, Fault, Layout};
use super::message::{Batch, Content};
use super::schema::Schema;
use super::selection::rows_column;
use crate::data::reader::Column;
use crate::error::Result;
use crate::storage::header::printable;
use crate::storage::{Dtype, checksum};

/// The largest body of a record batch, which a chunk holds in memory.
const MAX_BODY_BYTES: u64 = 1 << 30;

/// Columns that are read beside the rows.
const SIDE_COLUMNS: [&str; 4] = ["token_ids", "source", "sequence", "position"];

/// A stream whose schema was read.
#[derive(Debug)]
pub(in crate::data) struct ArrowStream {
    input: Input,
    schema: Schema,
    rows: Layout,
    width: usize,
    side: Vec<Layout>,
    columns: Vec<Column>,
    batches: u64,
    rows_read: u64,
    has_ended: bool,
}

/// The rows of a record batch, and what it has beside them.
#[derive(Debug, Default)]
pub(in crate::data) struct Chunk {
    /// Number of rows.
    pub rows: usize,
    /// Their values, `[rows, width]`, as the stream has them, little-endian.
    pub values: Vec<u8>,
    /// The values of each of [`ArrowStream::columns`].
    pub columns: Vec<Vec<u8>>,
}

impl ArrowStream {
    /// What messages call the stream.
    pub const NAME: &'static str = NAME;

    /// Reads the schema, of which `column` holds the rows: a fixed_size_list of f16, of f32, or of u16 whose metadata
    /// says that it is bf16. Without such a column, the only one that can hold rows is taken.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), and [`Error::Data`](crate::Error::Data) for what is no stream, and for columns
    /// of other types.
    pub fn open(reader: Box<dyn Read + Send>, column: &str) -> Result<Self> {
        let mut input = Input::new(reader);
        let Some((Content::Schema(schema), body)) = input.message("its schema")? else {
            return Err(refuse("does not start with a schema; write it with pyarrow.ipc.new_stream"));
        };
        input.skip(body, "its schema")?;
        let mut layouts = Layout::of_columns(&schema);
        let at = rows_column(&schema, &layouts, column).map_err(refuse)?;
        let rows = layouts[at].take().filter(|rows| rows.rank() == 1 && rows.is_of_fixed_size());
        let lengths = rows.as_ref().and_then(Layout::lengths);
        let width = lengths.and_then(|lengths| usize::try_from(lengths[0]).ok());
        let (Some(rows), Some(width)) = (rows, width) else {
            let (field, value) = (&schema.fields[at], "pyarrow.float32()");
            return Err(refuse(format!(
                "has column `{}` of {}; a stream's rows are of fixed_size_list: \
                 x.cast(pyarrow.list_({value}, width)), one list a row",
                printable(&field.name),
                printable(&field.type_name)
            )));
        };
        let mut side = Vec::new();
        for (field, layout) in schema.fields.iter().zip(layouts) {
            if !SIDE_COLUMNS.contains(&&*field.name) || field.name == rows.name {
                continue;
            }
            let layout = layout.filter(|layout| layout.rank() == 0 && is_integer(layout.dtype));
            let Some(layout) = layout else {
                let problem = format!(
                    "has column `{}` of {}; beside rows it must be of uint8, uint16, or integers of 32 or 64 \
                     bits, one a row",
                    field.name,
                    printable(&field.type_name)
                );
                return Err(refuse(problem));
            };
            if side.iter().any(|known: &Layout| known.name == layout.name) {
                return Err(refuse(format!("has two columns `{}`; rename one", layout.name)));
            }
            side.push(layout);
        }
        let columns = side.iter().map(|layout| Column {
            name: layout.name.clone(),
            type_name: format!("{:?}", layout.dtype),
            dtype: Some(layout.dtype),
            shape: vec![0],
        });
        let columns = columns.collect();
        Ok(Self { input, schema, rows, width, side, columns, batches: 0, rows_read: 0, has_ended: false })
    }

    /// What messages call the rows.
    pub fn label(&self) -> String {
        format!("column `{}`", printable(&self.rows.name))
    }

    /// Values per row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Type of the values: f16, bf16 or f32.
    pub fn dtype(&self) -> Dtype {
        self.rows.dtype
    }

    /// The columns beside the rows that are read; how many rows they have is not known.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns that are not read, in words.
    pub fn uncarried(&self) -> Vec<String> {
        let is_read = |name: &str| name == self.rows.name || self.side.iter().any(|layout| layout.name == name);
        let others = self.schema.fields.iter().filter(|field| !is_read(&field.name));
        let [last, rest @ ..] = SIDE_COLUMNS;
        let known = format!("{} and {last}", rest.join(", "));
        others
            .map(|field| format!("`{}` is not carried along: of a stream {known} are", printable(&field.name)))
            .collect()
    }

    /// Bytes that were read.
    pub fn bytes_read(&self) -> u64 {
        self.input.at()
    }

    /// What the schema says about the stream, e.g. `model_name`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.schema.metadata
    }

    /// Checksum (XXH3) of the schema: names, types, metadata.
    pub fn header_checksum(&self) -> String {
        let columns = self.schema.fields.iter().map(|field| (&field.name, &field.type_name));
        let header = serde_json::json!({
            "rows": [self.rows.name, self.rows.dtype],
            "columns": columns.collect::<Vec<_>>(),
            "metadata": self.schema.metadata,
        });
        checksum(header.to_string().as_bytes())
    }

    /// Number of rows that were read.
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// Reads the rows of the next record batch that has any, in place of those of `chunk`; false at the end of the
    /// stream.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Data`](crate::Error::Data) for a batch that is damaged, compressed or
    /// of more than 1 GiB, and for a stream that ends otherwise than with the marker of its end.
    pub fn next_into(&mut self, chunk: &mut Chunk) -> Result<bool> {
        while !self.has_ended {
            let part = format!("record batch {}, after row {}", self.batches, self.rows_read);
            let offset = self.input.at();
            match self.input.message(&part)? {
                None => {
                    self.has_ended = true;
                    self.input.check_end()?;
                }
                Some((Content::Dictionary, body)) => self.input.skip(body, &part)?,
                Some((Content::Schema(_), _)) => {
                    return Err(refuse(format!("has a second schema at byte {offset}; send one stream")));
                }
                Some((Content::Batch(batch), body)) => {
                    let place = BatchPlace { path: Path::new(NAME), number: self.batches, offset };
                    if body > MAX_BODY_BYTES {
                        let problem = format!("has {body} bytes, more than {MAX_BODY_BYTES}; write smaller batches");
                        return Err(place.refuse(problem));
                    }
                    batch.check(self.schema.extent()).map_err(|problem| place.refuse(problem))?;
                    self.read_body(&batch, place, body, &part, chunk)?;
                    self.batches += 1;
                    self.rows_read += batch.items;
                    if batch.items > 0 {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    fn read_body(
        &mut self,
        batch: &Batch,
        place: BatchPlace<'_>,
        body: u64,
        part: &str,
        chunk: &mut Chunk,
    ) -> Result<()> {
        let Chunk { rows, values, columns } = chunk;
        columns.resize_with(self.side.len(), Vec::new);
        let layouts = std::iter::once(&mut self.rows).chain(&mut self.side);
        let outs = std::iter::once(values).chain(columns);
        let mut parts = Vec::new();
        for (layout, out) in layouts.zip(outs) {
            out.clear();
            let range = range_of(layout, batch).map_err(|fault| fault.of_column(&layout.name, place))?;
            parts.push((range, out));
        }
        parts.sort_by_key(|(range, _)| range.start);
        let body_start = self.input.at();
        for (range, out) in parts {
            let at = self.input.at() - body_start;
            // Buffers of no bytes may lie anywhere.
            if range.is_empty() {
                continue;
            }
            let Some(before) = range.start.checked_sub(at) else {
                return Err(place.refuse("is damaged: its buffers overlap; write it again"));
            };
            self.input.skip(before, part)?;
            self.input.read_into(range.end - range.start, out, part)?;
        }
        // The parts lie in the body.
        self.input.skip(body - (self.input.at() - body_start), part)?;
        // It has their bytes.
        *rows = batch.items as usize;
        Ok(())
    }
}

/// Where a column without lists of several lengths has its values in a batch's body.
fn range_of(layout: &mut Layout, batch: &Batch) -> std::result::Result<Range<u64>, Fault> {
    let start = layout.values(batch, |_, _| Ok(()))?;
    let item_bytes = layout.lengths().iter().flatten().product::<u64>() * layout.dtype.bytes() as u64;
    // All of them are in the body.
    Ok(start..start + batch.items * item_bytes)
}

fn is_integer(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::U16 | Dtype::I32 | Dtype::U32 | Dtype::I64 | Dtype::U64)
}

#[cfg(test)]
mod tests;
