//! The first pass: every row to the bucket of its shard.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::PLACE_BYTES;
use super::checksum::RowsChecksum;
use super::work::{State, WorkDirectory};
use crate::data::rewrite::blocks::Block;
use crate::data::rewrite::table::Schema;
use crate::error::{Error, Result};

/// Bytes that wait for a bucket at most: longer writes are no faster.
const MAX_WAITING: u64 = 4 << 20;

/// Appends rows to buckets. A record is the row's place in its shard (u64), its values, and its columns' values.
pub(super) struct Distributor {
    paths: Vec<PathBuf>,
    shard_rows: u64,
    record_bytes: usize,
    /// Bytes that may wait for each bucket, whole records.
    capacity: usize,
    /// What waits for each bucket, `capacity` bytes apart.
    waiting: Vec<u8>,
    buckets: Vec<Bucket>,
    checksum: RowsChecksum,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Bytes that wait.
    waiting: usize,
    /// Bytes in the file.
    written: u64,
    /// Whether bytes were written that may not be on the disk.
    is_dirty: bool,
}

impl Distributor {
    /// Continues from a state, with so many bytes of memory for what waits.
    pub fn new(work: &WorkDirectory, state: &State, shard_rows: u64, row_bytes: usize, memory: u64) -> Self {
        let count = state.bucket_bytes.len();
        let record_bytes = row_bytes + PLACE_BYTES;
        let bucket_records = shard_rows.min(MAX_WAITING.div_ceil(record_bytes as u64));
        let records = (memory / count as u64 / record_bytes as u64).clamp(1, bucket_records);
        let capacity = records as usize * record_bytes;
        Self {
            paths: (0..count as u64).map(|bucket| work.bucket(bucket)).collect(),
            shard_rows,
            record_bytes,
            capacity,
            waiting: vec![0; capacity * count],
            buckets: state.bucket_bytes.iter().map(|&written| Bucket { written, ..Bucket::default() }).collect(),
            checksum: state.checksum,
        }
    }

    /// Adds row `row` of a block, which goes to place `place` of all.
    pub fn add(&mut self, place: u64, row: usize, block: &Block, schema: &Schema) -> Result<()> {
        let at = (place / self.shard_rows) as usize;
        let start = at * self.capacity + self.buckets[at].waiting;
        let (in_shard, record) = self.waiting[start..][..self.record_bytes].split_at_mut(PLACE_BYTES);
        in_shard.copy_from_slice(&(place % self.shard_rows).to_le_bytes());
        let bytes = schema.value_bytes();
        let (values, mut rest) = record.split_at_mut(bytes);
        values.copy_from_slice(&block.values()[row * bytes..][..bytes]);
        for (column, values) in schema.columns.iter().zip(&block.columns) {
            let bytes = column.row_bytes();
            let (out, after) = rest.split_at_mut(bytes);
            out.copy_from_slice(&values[row * bytes..][..bytes]);
            rest = after;
        }
        self.checksum.add(record);
        self.buckets[at].waiting += self.record_bytes;
        if self.buckets[at].waiting == self.capacity { self.flush(at) } else { Ok(()) }
    }

    /// Puts all that waits on the disk, and says so in the state.
    pub fn record(&mut self, state: &mut State) -> Result<()> {
        for at in 0..self.buckets.len() {
            self.flush(at)?;
            if std::mem::take(&mut self.buckets[at].is_dirty) {
                let path = &self.paths[at];
                let file = OpenOptions::new().append(true).open(path);
                file.and_then(|file: File| file.sync_all()).map_err(Error::io(path))?;
            }
            state.bucket_bytes[at] = self.buckets[at].written;
        }
        state.checksum = self.checksum;
        Ok(())
    }

    /// Appends what waits for a bucket. Files are opened each time, because there may be more than can be open at once.
    fn flush(&mut self, at: usize) -> Result<()> {
        let (bucket, path) = (&mut self.buckets[at], &self.paths[at]);
        if bucket.waiting == 0 {
            return Ok(());
        }
        let waiting = &self.waiting[at * self.capacity..][..bucket.waiting];
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(waiting)).map_err(Error::io(path))?;
        bucket.written += bucket.waiting as u64;
        (bucket.waiting, bucket.is_dirty) = (0, true);
        Ok(())
    }
}
