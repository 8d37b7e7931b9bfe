//! A set of safetensors files that is written shard by shard.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::table::Schema;
use crate::data::Activations;
use crate::error::{Error, Result};
use crate::storage::{Dtype, TensorWriter, WholeFile};

/// So that names of five digits are in order.
const MAX_SHARDS: u64 = 100_000;

/// How rows are split over files.
#[derive(Clone, Debug)]
pub(super) struct Sharding {
    pub schema: Schema,
    pub rows: u64,
    /// Rows of each file but the last.
    pub shard_rows: u64,
}

impl Sharding {
    /// Splits at least one row.
    ///
    /// # Errors
    /// [`Error::Config`] for too many files.
    pub fn new(schema: Schema, rows: u64, shard_rows: u64) -> Result<Self> {
        let sharding = Self { schema, rows, shard_rows: shard_rows.clamp(1, rows.max(1)) };
        match sharding.count() {
            count if count > MAX_SHARDS => Err(Error::Config(format!(
                "shards of {shard_rows} rows would be {count} files, more than {MAX_SHARDS}: give at least {} rows a \
                 shard",
                rows.div_ceil(MAX_SHARDS)
            ))),
            _ => Ok(sharding),
        }
    }

    /// Number of files.
    pub fn count(&self) -> u64 {
        self.rows.div_ceil(self.shard_rows)
    }

    /// Rows of a file.
    pub fn rows_of(&self, shard: u64) -> u64 {
        self.shard_rows.min(self.rows - shard * self.shard_rows)
    }

    /// Name of a file.
    pub fn name(&self, shard: u64) -> String {
        shard_name(shard, self.count())
    }

    fn begin(&self, directory: &Path, shard: u64) -> Result<(TensorWriter, Vec<usize>)> {
        self.schema.begin(&directory.join(self.name(shard)), self.rows_of(shard) as usize)
    }
}

/// Name of a file of `count`.
pub(super) fn shard_name(shard: u64, count: u64) -> String {
    format!("part-{shard:05}-of-{count:05}.safetensors")
}

/// Fails if a set of which nobody knows the size has as many files as there can be.
#[cfg(feature = "arrow")]
pub(super) fn check_count(count: u64) -> Result<()> {
    match count {
        ..=MAX_SHARDS => Ok(()),
        _ => Err(Error::Config(format!("there are more than {MAX_SHARDS} files: give more rows a shard"))),
    }
}

/// Writes a file of all these rows: their values, and for each column its values.
///
/// # Errors
/// [`Error::Io`].
#[cfg(feature = "arrow")]
pub(super) fn write_shard(schema: &Schema, path: &Path, rows: usize, values: &[u8], columns: &[Vec<u8>]) -> Result<()> {
    let (mut file, slots) = schema.begin(path, rows)?;
    let parts = [values].into_iter().chain(columns.iter().map(Vec::as_slice));
    for (&slot, bytes) in slots.iter().zip(parts) {
        file.write(slot, 0, bytes)?;
    }
    file.finish()
}

impl Schema {
    /// Begins a file, with the slots of its tensors: the values', then each column's.
    fn begin(&self, path: &Path, rows: usize) -> Result<(TensorWriter, Vec<usize>)> {
        let mut tensors: Vec<(&str, Dtype, Vec<usize>)> =
            vec![(Activations::TENSOR, self.dtype, vec![rows, self.width])];
        for column in &self.columns {
            tensors.push((&column.name, column.dtype, [&[rows][..], &column.tail].concat()));
        }
        // The widest type first keeps all of them aligned.
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&tensor| std::cmp::Reverse(tensors[tensor].1.bytes()));
        let mut slots = vec![0; order.len()];
        order.iter().enumerate().for_each(|(slot, &tensor)| slots[tensor] = slot);
        let tensors: Vec<(&str, Dtype, &[usize])> =
            order.iter().map(|&tensor| (tensors[tensor].0, tensors[tensor].1, &tensors[tensor].2[..])).collect();
        let metadata: BTreeMap<&str, String> =
            self.metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let file = WholeFile::create(path)?;
        Ok((TensorWriter::new(file, &tensors, &metadata)?, slots))
    }
}

/// Takes blocks of rows in order, and writes them as shards.
pub(super) struct ShardWriter<'a> {
    sharding: &'a Sharding,
    directory: PathBuf,
    /// The shard that comes next, or is open.
    shard: u64,
    open: Option<OpenShard>,
}

/// A shard that is being written.
struct OpenShard {
    file: TensorWriter,
    /// The file's tensors: the values, then each column.
    slots: Vec<usize>,
    /// Rows written.
    written: u64,
}

impl<'a> ShardWriter<'a> {
    /// Writes to a directory, from shard `first` on.
    pub fn new(sharding: &'a Sharding, directory: &Path, first: u64) -> Self {
        Self { sharding, directory: directory.to_owned(), shard: first, open: None }
    }

    /// Takes the next `rows` rows: their values, and for each column its values.
    ///
    /// # Errors
    /// [`Error::Io`], also for more rows than there are to be.
    pub fn write(&mut self, rows: usize, values: &[u8], columns: &[Vec<u8>]) -> Result<()> {
        let schema = &self.sharding.schema;
        let sizes = [schema.value_bytes()].into_iter().chain(schema.columns.iter().map(|column| column.row_bytes()));
        let parts: Vec<(usize, &[u8])> =
            sizes.zip([values].into_iter().chain(columns.iter().map(Vec::as_slice))).collect();
        let mut taken = 0;
        while taken < rows {
            if self.shard >= self.sharding.count() {
                let error = std::io::Error::other("more rows came than were announced");
                return Err(Error::io(&self.directory)(error));
            }
            let in_shard = self.sharding.rows_of(self.shard);
            if self.open.is_none() {
                let (file, slots) = self.sharding.begin(&self.directory, self.shard)?;
                self.open = Some(OpenShard { file, slots, written: 0 });
            }
            let Some(open) = &mut self.open else { continue };
            let count = ((in_shard - open.written) as usize).min(rows - taken);
            for (&slot, (size, bytes)) in open.slots.iter().zip(&parts) {
                open.file.write(slot, open.written * *size as u64, &bytes[taken * size..][..count * size])?;
            }
            open.written += count as u64;
            taken += count;
            if open.written == in_shard
                && let Some(whole) = self.open.take()
            {
                whole.file.finish()?;
                self.shard += 1;
            }
        }
        Ok(())
    }

    /// Whether all rows were written.
    pub fn is_complete(&self) -> bool {
        self.shard == self.sharding.count()
    }
}
