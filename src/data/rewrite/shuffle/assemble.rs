//! The second pass: the rows of a bucket in their order.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::checksum::RowsChecksum;
use super::{BLOCK_BYTES, PLACE_BYTES};
use crate::data::rewrite::shards::Sharding;
use crate::data::rewrite::table::SchemaColumn;
use crate::error::{Error, Result};

/// The rows of one shard, in memory that is used again for the next.
pub(super) struct Assembler<'a> {
    sharding: &'a Sharding,
    pub values: Vec<u8>,
    pub columns: Vec<Vec<u8>>,
    is_filled: Vec<bool>,
    /// Records as they are read.
    records: Vec<u8>,
}

impl<'a> Assembler<'a> {
    pub fn new(sharding: &'a Sharding) -> Self {
        let columns = vec![Vec::new(); sharding.schema.columns.len()];
        Self { sharding, values: Vec::new(), columns, is_filled: Vec::new(), records: Vec::new() }
    }

    /// Reads the bucket of a shard, every place of which it must fill once; the checksum of the rows in their places.
    ///
    /// # Errors
    /// [`Error::Data`] for a bucket that does not, [`Error::Io`].
    pub fn read(&mut self, bucket: &Path, shard: u64) -> Result<RowsChecksum> {
        let schema = &self.sharding.schema;
        let rows = self.sharding.rows_of(shard) as usize;
        let record_bytes = schema.row_bytes() + PLACE_BYTES;
        let mut file = File::open(bucket).map_err(Error::io(bucket))?;
        let (bytes, expected) = (file.metadata().map_err(Error::io(bucket))?.len(), rows as u64 * record_bytes as u64);
        if bytes != expected {
            return Err(Error::data(bucket, format!("has {bytes} bytes, and was written with {expected}")));
        }
        self.values.resize(rows * schema.value_bytes(), 0);
        for (values, column) in self.columns.iter_mut().zip(&schema.columns) {
            values.resize(rows * column.row_bytes(), 0);
        }
        self.is_filled.clear();
        self.is_filled.resize(rows, false);
        let most = (BLOCK_BYTES as usize / record_bytes).max(1);
        for first in (0..rows).step_by(most) {
            self.records.resize((rows - first).min(most) * record_bytes, 0);
            file.read_exact(&mut self.records).map_err(Error::io(bucket))?;
            let records = std::mem::take(&mut self.records);
            for record in records.chunks_exact(record_bytes) {
                self.put(record).map_err(|problem| Error::data(bucket, problem))?;
            }
            self.records = records;
        }
        Ok(self.checksum(rows))
    }

    /// Puts a row at its place.
    fn put(&mut self, record: &[u8]) -> std::result::Result<(), String> {
        let (place, mut row) = record.split_at(PLACE_BYTES);
        let place = u64::from_le_bytes(place.try_into().unwrap_or_default());
        let Some(filled) = usize::try_from(place).ok().and_then(|place| self.is_filled.get_mut(place)) else {
            return Err(format!("has a row for place {place} of {}", self.is_filled.len()));
        };
        if std::mem::replace(filled, true) {
            return Err(format!("has two rows for place {place}"));
        }
        let schema = &self.sharding.schema;
        let sizes = [schema.value_bytes()].into_iter().chain(schema.columns.iter().map(SchemaColumn::row_bytes));
        for (out, bytes) in [&mut self.values].into_iter().chain(&mut self.columns).zip(sizes) {
            let (part, rest) = row.split_at(bytes);
            out[place as usize * bytes..][..bytes].copy_from_slice(part);
            row = rest;
        }
        Ok(())
    }

    /// The checksum of all rows as they will be written.
    fn checksum(&self, rows: usize) -> RowsChecksum {
        let schema = &self.sharding.schema;
        let mut checksum = RowsChecksum::default();
        let mut row = Vec::with_capacity(schema.row_bytes());
        for place in 0..rows {
            let bytes = schema.value_bytes();
            row.clear();
            row.extend_from_slice(&self.values[place * bytes..][..bytes]);
            for (values, column) in self.columns.iter().zip(&schema.columns) {
                let bytes = column.row_bytes();
                row.extend_from_slice(&values[place * bytes..][..bytes]);
            }
            checksum.add(&row);
        }
        checksum
    }
}
