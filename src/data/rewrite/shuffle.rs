//! A random order of all rows, on the disk.
//!
//! The first pass reads the files in order, and appends each row with its place to the bucket of the shard that the
//! place is in. The second reads a bucket at a time, puts its rows at their places, and writes the shard.

mod assemble;
mod checksum;
mod distribute;
mod work;

use std::fs;
use std::path::Path;

use assemble::Assembler;
use checksum::RowsChecksum;
use distribute::Distributor;
use work::{State, WorkDirectory};

use super::agreement::Agreement;
use super::blocks::for_each_block;
use super::shards::{ShardWriter, Sharding};
use super::table::Table;
use crate::data::{Activations, Permutation};
use crate::error::{Error, Result};
use crate::units::readable_bytes;

/// Files of the first pass at most: more of them would be written in ever smaller pieces.
const MAX_BUCKETS: u64 = 4096;

/// Bytes read at a time, where the memory allows.
const BLOCK_BYTES: u64 = 8 << 20;

/// Bytes of rows after which the first pass records how far it is.
const RECORD_EVERY: u64 = 4 << 30;

/// Bytes of a row's place in a bucket.
const PLACE_BYTES: usize = 8;

/// The order of an epoch that no training reaches, so that training under the same seed draws orders of its own.
const EPOCH: u64 = u32::MAX as u64;

/// How rows are shuffled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleOptions {
    /// Seed of the order.
    pub seed: u64,
    /// Bytes of memory to use, apart from a few MiB.
    pub memory: u64,
}

impl Default for ShuffleOptions {
    fn default() -> Self {
        Self { seed: 0, memory: 1 << 30 }
    }
}

/// How far a shuffle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleProgress {
    /// 1 while the rows are read, 2 while they are put in order.
    pub pass: u8,
    /// Rows that the pass has done.
    pub rows: u64,
}

/// How a shuffle ended.
#[derive(Clone, Debug)]
pub enum ShuffleEnd {
    /// The directory is there.
    Done(ShuffleResult),
    /// It was asked to stop; the next call continues from there.
    Interrupted,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct ShuffleResult {
    /// Number of rows.
    pub rows: u64,
    /// Number of files.
    pub shards: u64,
    /// Sum of the checksums of all rows with their columns, in hexadecimal; no matter their order.
    pub checksum: String,
    /// Columns, metadata and numberings that are not as they were, in words.
    pub notes: Vec<String>,
}

/// A moment of a shuffle at which tests may end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Progress(ShuffleProgress),
    BucketsWritten,
    Recorded,
    ShardWritten,
    ShardRecorded,
    Renamed,
}

/// Writes all rows of `data` in a random order as safetensors files `part-00000-of-00002.safetensors`, .. of a new
/// directory, which appears whole or not at all. Place `p` holds row `order.at(p)` of a [`Permutation`] of all rows
/// under the seed; all orders of few rows are alike likely. Columns travel with their rows, and metadata that all files
/// share is kept.
///
/// The disk needs room for all rows once more beside `out`, and for one shard. A process that ends in between, however
/// it does, leaves the hidden directory `.NAME.shuffle` beside `out`: the same call continues from there. `advance` is
/// told of the state at the beginning and of every few MiB; when it returns false, the shuffle stops so that it can go
/// on.
///
/// # Errors
/// [`Error::Exists`] for a directory that exists; [`Error::Config`] for too little memory, and where another shuffle
/// was begun or runs; [`Error::Data`] for files whose types or columns differ, or change meanwhile; [`Error::Io`].
pub fn write_shuffled(
    data: &Activations,
    out: &Path,
    options: &ShuffleOptions,
    mut advance: impl FnMut(ShuffleProgress) -> bool,
) -> Result<ShuffleEnd> {
    shuffle(data, out, options, RECORD_EVERY, &mut |moment| match moment {
        Moment::Progress(progress) => Ok(advance(progress)),
        _ => Ok(true),
    })
}

/// Told of every moment; asks to stop by false, and ends the shuffle as it is by an error.
type Observer<'a> = dyn FnMut(Moment) -> Result<bool> + 'a;

fn shuffle(
    data: &Activations,
    out: &Path,
    options: &ShuffleOptions,
    record_every: u64,
    observe: &mut Observer<'_>,
) -> Result<ShuffleEnd> {
    WorkDirectory::check_new(out)?;
    let mut table = Table::new(data, Agreement::Required)?;
    let shard_rows = shard_rows(table.rows, table.schema.row_bytes(), options.memory)?;
    let buckets = table.rows.div_ceil(shard_rows);
    let wanted = State::new(data.identity()?, options.seed, shard_rows, buckets as usize);
    let (work, mut state) = WorkDirectory::open(out, wanted)?;
    let job = Job { table: &table, options, shard_rows, record_every };
    if !work.has_moved(&state, out) && !job.distribute(&work, &mut state, observe)? {
        return Ok(ShuffleEnd::Interrupted);
    }
    let checksum = state.checksum.to_string();
    table.schema.metadata.extend([
        ("shuffled".to_owned(), "true".to_owned()),
        ("shuffle_seed".to_owned(), options.seed.to_string()),
        ("shuffle_rows".to_owned(), table.rows.to_string()),
        ("shuffle_checksum".to_owned(), checksum.clone()),
    ]);
    let sharding = Sharding::new(table.schema.clone(), table.rows, shard_rows)?;
    if !work.has_moved(&state, out) {
        if !assemble(&sharding, &work, &mut state, observe)? {
            return Ok(ShuffleEnd::Interrupted);
        }
        work.move_shards(out)?;
        observe(Moment::Renamed)?;
    }
    work.remove()?;
    Ok(ShuffleEnd::Done(ShuffleResult { rows: table.rows, shards: sharding.count(), checksum, notes: table.notes }))
}

/// Rows of a shard: as many as fit half the memory, beside their places. The other half is for what waits to be
/// written to each bucket, at least a row.
fn shard_rows(rows: u64, row_bytes: usize, memory: u64) -> Result<u64> {
    let record = (row_bytes + PLACE_BYTES) as u64;
    let (half, all) = (memory / 2, u128::from(rows) * u128::from(record));
    let buckets = rows.div_ceil((half / record).max(1));
    if half >= record && buckets <= MAX_BUCKETS && u128::from(buckets) * u128::from(record) <= u128::from(half) {
        return Ok(rows.div_ceil(buckets));
    }
    // A bucket for each of them, or for so many that one row of each is as much as a bucket.
    let needed = (all / u128::from(MAX_BUCKETS)).max((all * u128::from(record)).isqrt()) + u128::from(record);
    let needed = u64::try_from(2 * needed).unwrap_or(u64::MAX);
    Err(Error::Config(format!(
        "shuffling {rows} rows of {} takes at least {} of memory, and it may use {}: give --memory {}MiB",
        readable_bytes(row_bytes as u64),
        readable_bytes(needed),
        readable_bytes(memory),
        needed.div_ceil(1 << 20)
    )))
}

/// The first pass.
struct Job<'a> {
    table: &'a Table<'a>,
    options: &'a ShuffleOptions,
    shard_rows: u64,
    /// Bytes.
    record_every: u64,
}

impl Job<'_> {
    /// Puts every row into its bucket; false when it was asked to stop, and did so.
    fn distribute(&self, work: &WorkDirectory, state: &mut State, observe: &mut Observer<'_>) -> Result<bool> {
        let Self { table, options, shard_rows, .. } = *self;
        if state.read == table.rows {
            return Ok(true);
        }
        if !observe(Moment::Progress(ShuffleProgress { pass: 1, rows: state.read }))? {
            return Ok(false);
        }
        work.truncate_buckets(state)?;
        let order = Permutation::new(table.rows, options.seed, EPOCH);
        let row_bytes = table.schema.row_bytes();
        let mut buckets = Distributor::new(work, state, shard_rows, row_bytes, options.memory / 2);
        let block_bytes = BLOCK_BYTES.min(options.memory / 32) as usize;
        let (mut unrecorded, mut goes_on) = (0, true);
        for_each_block(table, state.read, block_bytes, |block| {
            for (row, number) in (block.first_of_all..).take(block.rows).enumerate() {
                buckets.add(order.place_of(number), row, block, &table.schema)?;
            }
            state.read = block.first_of_all + block.rows as u64;
            goes_on = observe(Moment::Progress(ShuffleProgress { pass: 1, rows: state.read }))?;
            unrecorded += (block.rows * row_bytes) as u64;
            if !goes_on || unrecorded >= self.record_every || state.read == table.rows {
                unrecorded = 0;
                buckets.record(state)?;
                observe(Moment::BucketsWritten)?;
                work.write(state)?;
                observe(Moment::Recorded)?;
            }
            Ok(goes_on)
        })?;
        Ok(goes_on)
    }
}

/// The second pass; false when it was asked to stop, and did so.
fn assemble(sharding: &Sharding, work: &WorkDirectory, state: &mut State, observe: &mut Observer<'_>) -> Result<bool> {
    work.check_shards(state, sharding)?;
    let mut assembler = Assembler::new(sharding);
    loop {
        let shard = state.shards.len() as u64;
        let rows = (shard * sharding.shard_rows).min(sharding.rows);
        if !observe(Moment::Progress(ShuffleProgress { pass: 2, rows }))? {
            return Ok(false);
        }
        if shard == sharding.count() {
            break;
        }
        let bucket = work.bucket(shard);
        let checksum = assembler.read(&bucket, shard).map_err(|error| work.explain(error))?;
        let Assembler { values, columns, .. } = &assembler;
        ShardWriter::new(sharding, &work.shards(), shard).write(sharding.rows_of(shard) as usize, values, columns)?;
        observe(Moment::ShardWritten)?;
        state.shards.push(checksum);
        work.write(state)?;
        observe(Moment::ShardRecorded)?;
        fs::remove_file(&bucket).map_err(Error::io(&bucket))?;
    }
    let written = state.shards.iter().fold(RowsChecksum::default(), |sum, &shard| sum + shard);
    if written != state.checksum {
        let problem = format!("the rows written are not those read (checksum {written}, not {})", state.checksum);
        return Err(work.explain(Error::data(work.path(), problem)));
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
