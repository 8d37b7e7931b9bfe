//! Activations in our layout, in the order that they have, in a type of choice.

use std::path::Path;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::agreement::Agreement;
use super::blocks::{Block, for_each_block};
use super::shards::{ShardWriter, Sharding};
use super::table::Table;
use crate::data::reader::Reader;
use crate::data::row_values::RowsView;
use crate::data::{Activations, Dtype};
use crate::error::{Error, Result};
use crate::storage::floats::decode;
use crate::storage::staging::Staging;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 8 << 20;

/// Size of a shard where its rows are not given.
pub(super) const SHARD_BYTES: u64 = 1 << 30;

/// How activations are converted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvertOptions {
    /// Type of the values; that of the files if there is none.
    pub dtype: Option<Dtype>,
    /// Rows of each file but the last; those of 1 GiB if there is no number.
    pub shard_rows: Option<u64>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// Number of rows.
    pub rows: u64,
    /// Type of their values.
    pub dtype: Dtype,
    /// Number of files.
    pub shards: u64,
    /// Columns, metadata and numberings that are not as they were, in words.
    pub notes: Vec<String>,
}

/// Writes all rows, in their order, as safetensors files `part-00000-of-00002.safetensors`, .. of a new directory,
/// which appears whole or not at all. Columns that all files have in one form, and metadata that they share, are
/// carried along; floats are rounded to nearest, ties to even. `advance` is given the number of rows done, now and
/// then.
///
/// # Errors
/// [`Error::Exists`] for a directory that exists; [`Error::Config`] for files of several types without a choice, a type
/// that rows cannot have, and too many shards; [`Error::Data`] for a value that is not finite, or not in the new type,
/// naming its row; [`Error::Io`].
pub fn write_converted(
    data: &Activations,
    out: &Path,
    options: &ConvertOptions,
    mut advance: impl FnMut(u64),
) -> Result<Conversion> {
    let staging = Staging::new(out)?;
    let dtype = choose_dtype(data, options.dtype)?;
    let mut table = Table::new(data, Agreement::Sought)?;
    table.schema.dtype = dtype;
    forget_other_shuffles(&mut table);
    let of_gib = SHARD_BYTES / table.schema.row_bytes() as u64;
    let sharding = Sharding::new(table.schema.clone(), table.rows, options.shard_rows.unwrap_or(of_gib))?;
    let mut shards = ShardWriter::new(&sharding, staging.path(), 0);
    let mut cast = Cast::to(dtype);
    for_each_block(&table, 0, BLOCK_BYTES, |block| {
        let values = cast.cast(&StoredRows::of(table.files[block.file].reader, block))?;
        shards.write(block.rows, values, &block.columns)?;
        advance(block.first_of_all + block.rows as u64);
        Ok(true)
    })?;
    debug_assert!(shards.is_complete());
    staging.commit(out)?;
    Ok(Conversion { rows: table.rows, dtype, shards: sharding.count(), notes: table.notes })
}

fn choose_dtype(data: &Activations, choice: Option<Dtype>) -> Result<Dtype> {
    let mut types = data.readers().map(|(reader, _)| reader.dtype());
    match choice {
        Some(dtype) => check_dtype(dtype),
        None if types.all(|dtype| dtype == data.dtype()) => Ok(data.dtype()),
        None => Err(Error::Config(
            "the files have values of several types: choose one with --dtype, f32 to keep all of them exactly".into(),
        )),
    }
}

/// Fails for a type that rows cannot have.
pub(super) fn check_dtype(dtype: Dtype) -> Result<Dtype> {
    match dtype {
        Dtype::F16 | Dtype::BF16 | Dtype::F32 => Ok(dtype),
        other => Err(Error::Config(format!("values cannot be converted to {other:?}: give f16, bf16 or f32"))),
    }
}

/// Several shuffled sets, one after another, are not one shuffled set.
fn forget_other_shuffles(table: &mut Table<'_>) {
    let metadata = &mut table.schema.metadata;
    let shuffled = metadata.get("shuffle_rows").and_then(|rows| rows.parse::<u64>().ok());
    if shuffled.is_some_and(|rows| rows < table.rows) {
        metadata.retain(|key, _| !key.starts_with("shuffle"));
    }
}

/// Rows as they are stored, and what messages call them.
pub(super) struct StoredRows<'a> {
    pub dtype: Dtype,
    pub width: usize,
    /// Number of the first row.
    pub first: u64,
    /// Aligned as floats.
    pub values: &'a [u8],
    pub path: &'a Path,
    pub label: &'a str,
}

impl<'a> StoredRows<'a> {
    fn of(reader: &'a dyn Reader, block: &'a Block) -> Self {
        Self {
            dtype: reader.dtype(),
            width: reader.width(),
            first: block.first,
            values: block.values(),
            path: reader.path(),
            label: reader.label(),
        }
    }
}

/// Values in another type.
pub(super) struct Cast {
    dtype: Dtype,
    values: Vec<f32>,
    /// In the new type.
    stored: Vec<u32>,
}

impl Cast {
    pub fn to(dtype: Dtype) -> Self {
        Self { dtype, values: Vec::new(), stored: Vec::new() }
    }

    /// The values of some rows in the new type, all of them finite.
    pub fn cast<'a>(&'a mut self, rows: &StoredRows<'a>) -> Result<&'a [u8]> {
        let &StoredRows { dtype: from, width, first, values: stored_values, path, label } = rows;
        let problem = |at: usize, problem: String| {
            let (row, column) = (first + (at / width) as u64, at % width);
            Error::data(path, format!("{label}, row {row}, column {column} is {problem}"))
        };
        let values = RowsView::stored(from, stored_values);
        let count = values.len();
        let value = |at: usize| values.slice(at..at + 1).to_f32()[0];
        if let Some(at) = values.first_not_finite() {
            return Err(problem(at, format!("{}: only finite numbers can be used; remove or recompute it", value(at))));
        }
        if from == self.dtype {
            return Ok(stored_values);
        }
        self.values.resize(count, 0.0);
        decode(from, stored_values, &mut self.values);
        let bytes = count * self.dtype.bytes();
        self.stored.resize(bytes.div_ceil(4), 0);
        let stored = &mut bytemuck::cast_slice_mut::<u32, u8>(&mut self.stored)[..bytes];
        match self.dtype {
            Dtype::F16 => bytemuck::cast_slice_mut::<u8, f16>(stored).convert_from_f32_slice(&self.values),
            Dtype::BF16 => bytemuck::cast_slice_mut::<u8, bf16>(stored).convert_from_f32_slice(&self.values),
            _ => bytemuck::cast_slice_mut::<u8, f32>(stored).copy_from_slice(&self.values),
        }
        match RowsView::stored(self.dtype, stored).first_not_finite() {
            None => Ok(stored),
            Some(at) => {
                let cure = if self.dtype == Dtype::F16 { "bf16 or f32" } else { "f32" };
                let (value, dtype) = (value(at), self.dtype);
                Err(problem(at, format!("{value:e}, too large for {dtype:?}; convert to {cure}, or remove the row")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
