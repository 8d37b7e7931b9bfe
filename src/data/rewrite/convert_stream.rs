//! A stream of rows in our layout, in the order in which they come.

use std::fs;
use std::path::Path;

use super::convert::{Cast, Conversion, ConvertOptions, SHARD_BYTES, StoredRows, check_dtype};
use super::shards::{check_count, shard_name, write_shard};
use super::table::{Schema, SchemaColumn};
use crate::data::{Dtype, RowStream};
use crate::error::{Error, Result};
use crate::storage::staging::Staging;

/// Rows of a file that is not full.
#[derive(Default)]
struct Gathered {
    rows: usize,
    values: Vec<u8>,
    columns: Vec<Vec<u8>>,
}

/// Writes all rows of a stream as [`write_converted`](super::write_converted) writes those of files; each file is held
/// in memory until it is full. Of columns those are carried along that a stream is read for. `advance` is given the
/// number of rows done, now and then.
///
/// # Errors
/// [`Error::Exists`] for a directory that exists; [`Error::Config`] for a type that rows cannot have, for too many
/// files, and for a stream that was read already; [`Error::Data`] for a value that is not finite, or not in the new
/// type, naming its row, and for a stream that is damaged or cut; [`Error::Io`].
pub fn write_converted_stream(
    stream: &RowStream,
    out: &Path,
    options: &ConvertOptions,
    mut advance: impl FnMut(u64),
) -> Result<Conversion> {
    let staging = Staging::new(out)?;
    let dtype = options.dtype.map_or(Ok(stream.dtype()), check_dtype)?;
    let (columns, mut metadata) = (stream.columns(), stream.metadata().clone());
    if columns.iter().all(|(name, _)| name != "source") {
        metadata.remove("sources");
    }
    let column = |(name, dtype): &(String, Dtype)| SchemaColumn { name: name.clone(), dtype: *dtype, tail: Vec::new() };
    let columns = columns.iter().map(column).collect();
    let schema = Schema { dtype, width: stream.width(), columns, metadata };
    let of_gib = SHARD_BYTES / schema.row_bytes() as u64;
    let shard_rows = options.shard_rows.unwrap_or(of_gib).max(1);
    let mut shards = StreamShards { schema: &schema, staging: &staging, rows: Gathered::default(), written: 0 };
    let mut cast = Cast::to(dtype);
    let mut rows = 0;
    stream.for_each_block(|block| {
        let stored = StoredRows {
            dtype: stream.dtype(),
            width: stream.width(),
            first: block.first,
            values: block.values,
            path: stream.name(),
            label: stream.label(),
        };
        shards.add(cast.cast(&stored)?, &block.columns, block.rows, shard_rows)?;
        rows += block.rows as u64;
        advance(rows);
        Ok(())
    })?;
    let count = shards.finish()?;
    staging.commit(out)?;
    Ok(Conversion { rows, dtype, shards: count, notes: stream.uncarried().to_vec() })
}

/// Files whose number is not known yet.
struct StreamShards<'a> {
    schema: &'a Schema,
    staging: &'a Staging,
    rows: Gathered,
    /// Files that are written.
    written: u64,
}

impl StreamShards<'_> {
    /// Takes the next `rows` rows.
    fn add(&mut self, values: &[u8], columns: &[&[u8]], rows: usize, shard_rows: u64) -> Result<()> {
        let schema = self.schema;
        let mut taken = 0;
        while taken < rows {
            let room = usize::try_from(shard_rows - self.rows.rows as u64).unwrap_or(usize::MAX);
            let next = taken + room.min(rows - taken);
            let part = |bytes: usize| taken * bytes..next * bytes;
            let reserved = self.rows.values.try_reserve((next - taken) * schema.value_bytes());
            reserved.map_err(|_| Error::Config("no memory for a whole file: give fewer --shard-rows".into()))?;
            self.rows.values.extend_from_slice(&values[part(schema.value_bytes())]);
            self.rows.columns.resize_with(columns.len(), Vec::new);
            for ((column, out), values) in schema.columns.iter().zip(&mut self.rows.columns).zip(columns) {
                out.extend_from_slice(&values[part(column.row_bytes())]);
            }
            self.rows.rows += next - taken;
            taken = next;
            if self.rows.rows as u64 == shard_rows {
                self.write()?;
            }
        }
        Ok(())
    }

    /// Writes the rows that were gathered as a file.
    fn write(&mut self) -> Result<()> {
        check_count(self.written + 1)?;
        let Gathered { rows, values, columns } = &mut self.rows;
        let path = self.staging.path().join(unfinished_name(self.written));
        write_shard(self.schema, &path, *rows, values, columns)?;
        *rows = 0;
        values.clear();
        columns.iter_mut().for_each(Vec::clear);
        self.written += 1;
        Ok(())
    }

    /// Gives the files their names, and their number.
    fn finish(mut self) -> Result<u64> {
        if self.rows.rows > 0 {
            self.write()?;
        }
        for shard in 0..self.written {
            let path = self.staging.path().join(shard_name(shard, self.written));
            let renamed = fs::rename(self.staging.path().join(unfinished_name(shard)), &path);
            renamed.map_err(Error::io(&path))?;
        }
        Ok(self.written)
    }
}

/// The name of a file before their number is known.
fn unfinished_name(shard: u64) -> String {
    format!("part-{shard:05}.safetensors")
}

#[cfg(test)]
mod tests;
