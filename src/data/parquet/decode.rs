//! The values of a column's row group.

use std::ops::Range;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;

use super::chunks::Chunks;
use super::leaf::Leaf;
use super::{explain, pages};
use crate::error::{Error, Result};
use crate::storage::file_pool::PooledFile;

/// Values that are decoded at a time.
const PIECE: usize = 1 << 16;

/// The values of a row group, of which each row has `row_bytes`.
pub(super) fn group(
    file: &PooledFile,
    decoder: &SerializedFileReader<Chunks>,
    leaf: &Leaf,
    group: usize,
    row_bytes: usize,
) -> Result<Vec<u8>> {
    let metadata = decoder.metadata().row_group(group);
    let refuse = |problem: &str| {
        let column = leaf.shown(decoder);
        Error::data(file.path(), format!("row group {group} {problem} in column `{column}`; write it again"))
    };
    let damaged = || refuse("contradicts itself");
    let column = metadata.columns().get(leaf.place).ok_or_else(damaged)?;
    let row_values = row_bytes / leaf.dtype.bytes();
    let rows = usize::try_from(metadata.num_rows()).map_err(|_| damaged())?;
    let values = rows.checked_mul(row_values).filter(|&values| column.num_values() == values as i64);
    let values = values.ok_or_else(damaged)?;
    let bytes = values.checked_mul(leaf.dtype.bytes()).filter(|&bytes| bytes as u64 <= super::MAX_GROUP_BYTES);
    let bytes = bytes.ok_or_else(damaged)?;

    // The decoder panics for chunks that start or end below 0.
    let start = u64::try_from(column.dictionary_page_offset().unwrap_or(column.data_page_offset()));
    let sizes = [column.compressed_size(), column.uncompressed_size()].map(u64::try_from);
    let (Ok(start), [Ok(compressed), Ok(uncompressed)]) = (start, sizes) else { return Err(damaged()) };
    let end = start.checked_add(compressed).filter(|&end| end <= file.size()).ok_or_else(damaged)?;
    if uncompressed > super::MAX_GROUP_BYTES {
        return Err(damaged());
    }
    pages::check(file, pages::Bounds { chunk: Range { start, end }, uncompressed, values: values as u64 })?;

    let row_group = decoder.get_row_group(group).map_err(|error| explain(file, &error))?;
    let reader = row_group.get_column_reader(leaf.place).map_err(|error| explain(file, &error))?;
    let mut out = Vec::with_capacity(bytes);
    let sink = Sink { file, row_values, rows, out: &mut out };
    let outcome = match reader {
        ColumnReader::FloatColumnReader(reader) => sink.fill(reader, |value, out| out.extend(value.to_le_bytes())),
        ColumnReader::Int32ColumnReader(reader) => sink.fill(reader, |value, out| out.extend(value.to_le_bytes())),
        ColumnReader::Int64ColumnReader(reader) => sink.fill(reader, |value, out| out.extend(value.to_le_bytes())),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => sink.fill(reader, |value, out| out.extend(value.data())),
        _ => return Err(damaged()),
    };
    outcome?.map_err(refuse)?;
    if out.len() == bytes { Ok(out) } else { Err(damaged()) }
}

/// Where values go.
struct Sink<'a> {
    file: &'a PooledFile,
    row_values: usize,
    rows: usize,
    out: &'a mut Vec<u8>,
}

impl Sink<'_> {
    /// Takes all values, or says what is wrong with them.
    fn fill<T: DataType>(
        self,
        mut reader: ColumnReaderImpl<T>,
        put: impl Fn(&T::T, &mut Vec<u8>),
    ) -> Result<std::result::Result<(), &'static str>> {
        let (mut values, mut nulls, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut left = self.rows;
        while left > 0 {
            let wanted = (PIECE / self.row_values).max(1).min(left);
            values.clear();
            nulls.clear();
            starts.clear();
            let read = reader.read_records(wanted, Some(&mut nulls), Some(&mut starts), &mut values);
            let (records, count, _) = read.map_err(|error| explain(self.file, &error))?;
            let wanted_values = wanted * self.row_values;
            if records != wanted || count > wanted_values {
                return Ok(Err("has lists of several lengths, or fewer rows than it says,"));
            }
            if count < wanted_values {
                return Ok(Err("has nulls, or lists of several lengths,"));
            }
            // A level of 0 is where a list starts.
            let is_start = |(place, &level): (usize, &i16)| (level == 0) == (place % self.row_values == 0);
            if !starts.iter().enumerate().all(is_start) {
                return Ok(Err("has lists of several lengths"));
            }
            values.iter().for_each(|value| put(value, self.out));
            left -= records;
        }
        Ok(Ok(()))
    }
}
