//! Activations in Parquet: a column of lists of one length, decoded a row group at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use parquet::basic::CompressionCodec;
use parquet::errors::ParquetError;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;

use self::cache::Cache;
use self::chunks::Chunks;
use self::leaf::{Leaf, rows_column, shown_name, side_column};
use super::reader::{Column, Reader};
use crate::error::{Error, Result};
use crate::storage::file_pool::{FilePool, PooledFile};
use crate::storage::header::printable;
use crate::storage::{Dtype, checksum};
use crate::units::readable_bytes;

mod cache;
mod chunks;
mod decode;
mod leaf;
mod pages;

/// The largest row group that is decoded.
const MAX_GROUP_BYTES: u64 = if cfg!(fuzzing) { 16 << 20 } else { 1 << 30 };

/// Bytes of decoded row groups that are kept.
const CACHE_BYTES: usize = 1 << 30;

/// Metadata that is for another program.
const NOT_CARRIED: [&str; 3] = ["huggingface", "pandas", "ARROW:schema"];

/// A file whose row groups have the rows that they say.
pub(super) struct ParquetReader {
    file: Arc<PooledFile>,
    decoder: SerializedFileReader<Chunks>,
    label: String,
    rows_leaf: Leaf,
    rows: u64,
    width: usize,
    /// The first row of each row group.
    first_rows: Vec<u64>,
    columns: Vec<Column>,
    /// What each of them is decoded from.
    leaves: Vec<Option<Leaf>>,
    metadata: BTreeMap<String, String>,
    cache: Mutex<Cache>,
}

impl ParquetReader {
    /// Opens the file `path`, whose column `name` holds the rows, as lists. Without such a column, the only one that
    /// can hold rows is taken.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for a file that is damaged, a row group of more than 1 GiB, a compression
    /// other than Snappy, and a column that is not of lists of f16 or f32.
    pub fn open(pool: &Arc<FilePool>, path: &Path, name: &str) -> Result<Self> {
        let file = Arc::new(PooledFile::open(path, pool)?);
        let refuse = |problem: String| Error::data(path, problem);
        let chunks = Chunks::open(&file)?;
        let decoder = contain(&file, || SerializedFileReader::new(chunks).map_err(|error| explain(&file, &error)))?;
        let schema = decoder.metadata().file_metadata().schema_descr();
        let descriptors: Vec<_> = schema.columns().iter().map(|column| &**column).collect();
        let place = rows_column(&descriptors, name).map_err(refuse)?;
        let label = format!("column `{}`", shown_name(descriptors[place]));
        let Some(rows_leaf) = Leaf::of(place, descriptors[place]) else {
            return Err(refuse(format!("{label} holds no rows")));
        };
        let mut first_rows = Vec::new();
        let (mut rows, mut width) = (0_u64, None);
        for (number, group) in decoder.metadata().row_groups().iter().enumerate() {
            let refuse = |problem: String| Error::data(path, format!("row group {number} {problem}"));
            let chunk = group.columns().get(place).ok_or_else(|| refuse("lacks a column; write it again".into()))?;
            let [group_rows, values] = [group.num_rows(), chunk.num_values()].map(|count| u64::try_from(count).ok());
            let counts = group_rows.zip(values).ok_or_else(|| refuse("is damaged; write it again".into()))?;
            first_rows.push(rows);
            let (group_rows, values) = counts;
            rows = rows.checked_add(group_rows).ok_or_else(|| refuse("has too many rows to count".into()))?;
            if group_rows == 0 {
                continue;
            }
            let here = values / group_rows;
            if values % group_rows != 0 || here == 0 || *width.get_or_insert(here) != here {
                let lists = width.unwrap_or(here);
                return Err(refuse(format!(
                    "has {values} values in {group_rows} lists of {label}, which is not {lists} in each; give lists of \
                     one length, and at least 1"
                )));
            }
        }
        let Some(width) = width.and_then(|width| usize::try_from(width).ok()) else {
            return Err(refuse(format!("{label} has no rows, so that nothing tells their width; leave the file out")));
        };
        let others = descriptors.iter().enumerate().filter(|(other, _)| *other != place);
        let (columns, leaves) = others.map(|(place, column)| side_column(place, column, rows)).unzip();
        let entries = decoder.metadata().file_metadata().key_value_metadata().into_iter().flatten();
        let entries = entries.filter(|entry| !NOT_CARRIED.contains(&&*entry.key));
        let metadata = entries.filter_map(|entry| Some((entry.key.clone(), entry.value.clone()?))).collect();
        let cache = Mutex::new(Cache::new(CACHE_BYTES));
        let reader =
            Self { file, decoder, label, rows_leaf, rows, width, first_rows, columns, leaves, metadata, cache };
        reader.check_groups()?;
        Ok(reader)
    }

    /// Checks that each row group's rows may be decoded.
    fn check_groups(&self) -> Result<()> {
        for (number, group) in self.decoder.metadata().row_groups().iter().enumerate() {
            let bytes = u64::try_from(group.num_rows()).ok().and_then(|rows| rows.checked_mul(self.row_bytes() as u64));
            let column = group.columns().get(self.rows_leaf.place);
            let compression = column.map(|column| column.compression_codec());
            let stored = column.and_then(|column| u64::try_from(column.uncompressed_size()).ok());
            let problem = match compression {
                Some(CompressionCodec::UNCOMPRESSED | CompressionCodec::SNAPPY) => {
                    if bytes.max(stored).is_some_and(|bytes| bytes <= MAX_GROUP_BYTES) {
                        continue;
                    }
                    let most = readable_bytes(MAX_GROUP_BYTES);
                    format!("has more than {most} of rows; write smaller ones: row_group_size=... in pyarrow")
                }
                Some(other) => format!("is compressed ({other:?}); write it with compression='snappy' or 'none'"),
                None => "lacks a column; write it again".into(),
            };
            return Err(Error::data(self.path(), format!("row group {number} {problem}")));
        }
        Ok(())
    }

    fn row_bytes(&self) -> usize {
        self.width * self.rows_leaf.dtype.bytes()
    }

    /// Fills `out` with what each row has `row_bytes` of in a column, from row `first` on.
    fn read_rows(&self, leaf: &Leaf, row_bytes: usize, first: u64, mut out: &mut [u8]) -> Result<()> {
        let mut row = first;
        let mut group = self.first_rows.partition_point(|&first| first <= row).saturating_sub(1);
        while !out.is_empty() {
            let values = self.group(leaf, row_bytes, group)?;
            let start = (row - self.first_rows[group]) as usize * row_bytes;
            let count = out.len().min(values.len() - start);
            let (these, rest) = out.split_at_mut(count);
            these.copy_from_slice(&values[start..][..count]);
            (out, row, group) = (rest, row + (count / row_bytes) as u64, group + 1);
        }
        Ok(())
    }

    /// The values of a column's row group.
    fn group(&self, leaf: &Leaf, row_bytes: usize, group: usize) -> Result<Arc<Vec<u8>>> {
        // What a panicking thread leaves is a list of whole groups all the same.
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = cache.find((leaf.place, group)) {
            return Ok(values);
        }
        let decode = || decode::group(&self.file, &self.decoder, leaf, group, row_bytes);
        let values = Arc::new(contain(&self.file, decode)?);
        cache.keep((leaf.place, group), values.clone());
        Ok(values)
    }
}

impl fmt::Debug for ParquetReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetReader").field("file", &self.file).field("label", &self.label).finish_non_exhaustive()
    }
}

impl Reader for ParquetReader {
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
        self.rows
    }

    fn width(&self) -> usize {
        self.width
    }

    fn dtype(&self) -> Dtype {
        self.rows_leaf.dtype
    }

    fn read(&self, first: u64, out: &mut [u8]) -> Result<()> {
        self.read_rows(&self.rows_leaf, self.row_bytes(), first, out)
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn read_column(&self, column: usize, first: u64, out: &mut [u8]) -> Result<()> {
        let Some(leaf) = &self.leaves[column] else {
            let problem =
                format!("column `{}` is of a type that cannot be read", printable(&self.columns[column].name));
            return Err(Error::data(self.path(), problem));
        };
        self.read_rows(leaf, leaf.dtype.bytes(), first, out)
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn header_checksum(&self) -> String {
        let columns = self.columns.iter().map(|column| (&column.name, &column.type_name));
        let header = serde_json::json!({
            "rows": [self.label, self.dtype(), self.rows, self.width],
            "columns": columns.collect::<Vec<_>>(),
            "metadata": self.metadata,
        });
        checksum(header.to_string().as_bytes())
    }
}

/// Calls the decoder, which panics for some damaged files: in `BitReader::get_vlq_int` of parquet 60, for a run of more
/// than ten bytes' length. The panic is printed, and the file refused.
fn contain<T>(file: &PooledFile, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic leaves half done is dropped.
    panic::catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        let problem = "cannot be decoded (the decoder panicked, with the message above): it is damaged; write it again";
        Err(Error::data(file.path(), problem))
    })
}

/// The error of the decoder.
fn explain(file: &PooledFile, error: &ParquetError) -> Error {
    let problem = format!("cannot be decoded ({}); write it again", printable(&error.to_string()));
    Error::data(file.path(), problem)
}

#[cfg(test)]
mod tests;
