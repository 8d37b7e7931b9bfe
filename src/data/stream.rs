//! Rows that come once, from a pipe.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::arrow::{ArrowStream, Chunk};
use super::order::mix;
use super::reader::Column;
use super::row_values::Values;
use super::spares::Spares;
use super::statistics::MeanNorm;
use super::windows::{Window, Windows};
use super::{Batches, Exclusion, FileIdentity, Provenance, RowOrder, RowValues, RowsView, Stretch};
use crate::error::{Error, Result};
use crate::storage::{Checksum, Dtype};

/// Rows whose values are part of a stream's identity.
const SAMPLES: usize = 64;

/// Rows at the front of a stream whose mean norm stands for that of all.
const NORM_ROWS: usize = 1 << 14;

/// The column of tokens.
const TOKENS: &str = "token_ids";

/// Bytes of rows that are given at a time.
const BLOCK_BYTES: usize = 4 << 20;

/// A stream of rows, which can be read once.
#[derive(Debug)]
pub struct RowStream {
    name: PathBuf,
    width: usize,
    dtype: Dtype,
    label: String,
    /// Names and types.
    columns: Vec<(String, Dtype)>,
    uncarried: Vec<String>,
    metadata: BTreeMap<String, String>,
    provenance: Provenance,
    is_shuffled: bool,
    identity: FileIdentity,
    filter: StreamFilter,
    left_out: Arc<LeftOut>,
    source: Mutex<Option<Source>>,
    started: Mutex<Option<Started>>,
}

/// Batches of which the first is there.
#[derive(Debug)]
struct Started {
    order: RowOrder,
    stretch: Stretch,
    batches: Batches,
}

/// Numbers of rows that were left out so far.
#[derive(Debug, Default)]
struct LeftOut {
    by_token: AtomicU64,
    not_finite: AtomicU64,
}

impl LeftOut {
    fn counts(&self) -> Exclusion {
        Exclusion {
            rows_excluded_by_token: self.by_token.load(Ordering::Relaxed),
            rows_excluded_not_finite: self.not_finite.load(Ordering::Relaxed),
            ..Exclusion::default()
        }
    }
}

/// Which rows of a stream to leave out, as they come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamFilter {
    /// Rows of these tokens, by the column `token_ids`.
    pub exclude_tokens: Vec<i32>,
    /// Rows with a value that is not finite, which are an error otherwise.
    pub skip_bad: bool,
}

/// Consecutive rows of a stream.
pub(super) struct StreamBlock<'a> {
    /// Number of the first row.
    pub first: u64,
    /// Number of rows.
    pub rows: usize,
    /// Their values as they are stored, aligned as floats.
    pub values: &'a [u8],
    /// The values of each of [`RowStream::columns`].
    pub columns: Vec<&'a [u8]>,
}

/// What is left of the stream, its first record batch read already.
#[derive(Debug)]
struct Source {
    stream: ArrowStream,
    chunk: Chunk,
    /// The next row of the chunk.
    next: usize,
    /// Rows before the chunk.
    before: u64,
}

/// The windows of a stream.
struct StreamWindows {
    source: Source,
    filter: StreamFilter,
    left_out: Arc<LeftOut>,
    order: RowOrder,
    seed: u64,
    /// Rows that are passed over: a run that resumes has seen them.
    skipped: u64,
    /// Rows of a window.
    window: u64,
    number: u64,
    spares: Arc<Spares<Values>>,
    width: usize,
    dtype: Dtype,
}

impl RowStream {
    /// Reads the schema and the first rows of an Arrow stream whose column `column` holds the rows: fixed-size lists of
    /// f16, f32, or of u16 that are said to be bf16. `name` is what messages call it.
    ///
    /// # Errors
    /// [`Error::Data`] for what is no such stream, has no row, or lacks the column `token_ids` that the filter needs;
    /// [`Error::Io`].
    pub fn open(reader: Box<dyn Read + Send>, column: &str, filter: StreamFilter) -> Result<Self> {
        let name = PathBuf::from(ArrowStream::NAME);
        let stream = ArrowStream::open(reader, column)?;
        let (width, dtype) = (stream.width(), stream.dtype());
        if !filter.exclude_tokens.is_empty() && token_column(stream.columns()).is_none() {
            let problem = "has no column `token_ids` (integers of 32 bits or fewer, or of 64) to tell excluded tokens \
                           by; add it, or exclude no tokens";
            return Err(Error::data(name, problem));
        }
        let (header, metadata) = (stream.header_checksum(), stream.metadata().clone());
        let mut source = Source { stream, chunk: Chunk::default(), next: 0, before: 0 };
        if !source.advance()? {
            return Err(Error::data(name, "has no rows; give at least one row"));
        }
        let mut rows = Checksum::default();
        rows.update(&source.chunk.values[..source.chunk.rows.min(SAMPLES) * width * dtype.bytes()]);
        let identity =
            FileIdentity { path: name.clone(), bytes: 0, rows: 0, width, dtype, header, rows_checksum: rows.digest() };
        Ok(Self {
            label: source.stream.label(),
            columns: source.stream.columns().iter().filter_map(|of| Some((of.name.clone(), of.dtype?))).collect(),
            uncarried: source.stream.uncarried(),
            provenance: Provenance::of(&name, &metadata),
            is_shuffled: metadata.get("shuffled").is_some_and(|said| said == "true"),
            metadata,
            name,
            width,
            dtype,
            identity,
            filter,
            left_out: Arc::default(),
            source: Mutex::new(Some(source)),
            started: Mutex::default(),
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Values per row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Type of the values: f16, bf16 or f32.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// What messages call the rows.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Names and types of the columns beside the rows, of which each row has one value.
    pub fn columns(&self) -> &[(String, Dtype)] {
        &self.columns
    }

    /// The columns that are not read, in words.
    pub(super) fn uncarried(&self) -> &[String] {
        &self.uncarried
    }

    /// What the stream says about itself, e.g. `model_name`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Where the rows come from, as far as the stream says.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Whether the stream says that its rows are in random order.
    pub fn is_shuffled(&self) -> bool {
        self.is_shuffled
    }

    /// What tells it from other streams: the schema, and the first rows.
    pub fn identity(&self) -> &FileIdentity {
        &self.identity
    }

    /// The numbers of rows that were left out so far.
    pub fn exclusion(&self) -> Exclusion {
        self.left_out.counts()
    }

    /// Waits for the first of the batches that [`Self::batches`] then gives.
    ///
    /// # Errors
    /// As [`Self::batches`], and those of the rows.
    pub(super) fn start(&self, order: RowOrder, stretch: Stretch) -> Result<()> {
        let mut batches = self.batches(order, stretch)?;
        batches.peek()?;
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Started { order, stretch, batches });
        Ok(())
    }

    /// The norms of the first of these batches, as many as hold [`NORM_ROWS`] rows.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) fn mean_norm(&self, order: RowOrder, stretch: Stretch) -> Result<MeanNorm> {
        let mut batches = self.batches(order, stretch)?;
        let mut norms = MeanNorm::default();
        for batch in batches.peek_some(NORM_ROWS.div_ceil(stretch.batch))? {
            norms.add(&batch.rows, self.width);
        }
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(Started { order, stretch, batches });
        Ok(norms)
    }

    /// Its batches from row `first` of a stretch on, which is counted without the rows that are left out.
    ///
    /// # Errors
    /// [`Error::Config`] when it was read already, and for an order that a stream cannot have.
    pub(super) fn batches(&self, order: RowOrder, stretch: Stretch) -> Result<Batches> {
        if order == RowOrder::Rows {
            let problem = "a stream comes in its own order: its rows can be mixed through a buffer, or taken as they \
                           come (--order mixed or sequential)";
            return Err(Error::Config(problem.into()));
        }
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Started { batches, .. }) = started.filter(|known| (known.order, known.stretch) == (order, stretch))
        {
            return Ok(batches);
        }
        let source = self.take_source()?;
        let mut windows = StreamWindows {
            source,
            filter: self.filter.clone(),
            left_out: self.left_out.clone(),
            order,
            seed: stretch.seed,
            skipped: stretch.first,
            // What is not mixed need not be gathered.
            window: if let RowOrder::Mixed { .. } = order { order.window_rows() } else { stretch.batch as u64 },
            number: 0,
            spares: Arc::default(),
            width: self.width,
            dtype: self.dtype,
        };
        Batches::of_windows(Windows::start(move || windows.next().transpose())?, self.width, stretch)
    }

    /// Gives all rows in their order, many at a time, and then the bytes of the stream; the filter does not count.
    ///
    /// # Errors
    /// [`Error::Config`] when it was read already; [`Error::Data`] for a stream that is damaged or cut; [`Error::Io`];
    /// and those of `take`.
    pub(super) fn for_each_block(&self, mut take: impl FnMut(&StreamBlock<'_>) -> Result<()>) -> Result<u64> {
        let mut source = self.take_source()?;
        let row_bytes = self.width * self.dtype.bytes();
        let most = (BLOCK_BYTES / row_bytes).max(1);
        let mut aligned: Vec<u32> = Vec::new();
        loop {
            let chunk = &source.chunk;
            for first in (0..chunk.rows).step_by(most) {
                let rows = most.min(chunk.rows - first);
                let stored = &chunk.values[first * row_bytes..][..rows * row_bytes];
                aligned.resize(stored.len().div_ceil(4), 0);
                let values = &mut bytemuck::cast_slice_mut(&mut aligned)[..stored.len()];
                values.copy_from_slice(stored);
                let of_rows = |((_, dtype), values): (&(String, Dtype), _)| -> &[u8] {
                    let values: &Vec<u8> = values;
                    &values[first * dtype.bytes()..][..rows * dtype.bytes()]
                };
                let columns = self.columns.iter().zip(&chunk.columns).map(of_rows).collect();
                take(&StreamBlock { first: source.before + first as u64, rows, values, columns })?;
            }
            if !source.advance()? {
                return Ok(source.stream.bytes_read());
            }
        }
    }

    /// The token of a row of a block, if the stream has tokens that fit.
    pub(super) fn token(&self, block: &StreamBlock<'_>, row: u64) -> Option<i32> {
        let at = self.columns.iter().position(|(name, _)| name == TOKENS)?;
        token_at(self.columns[at].1, block.columns[at], (row - block.first) as usize)
    }

    fn take_source(&self) -> Result<Source> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        source.ok_or_else(|| Error::Config("the stream was read already: it comes once".into()))
    }
}

impl StreamWindows {
    /// The next window of which some rows are wanted; none at the end.
    fn next(&mut self) -> Result<Option<Window>> {
        let rows = self.window;
        loop {
            let number = self.number;
            self.number += 1;
            if self.skipped >= rows {
                let mut row = RowValues::zeroed(self.dtype, self.width);
                for _ in 0..rows {
                    if self.next_row(&mut row, 0)?.is_none() {
                        return Ok(None);
                    }
                }
                self.skipped -= rows;
                continue;
            }
            let Some(mut window) = self.load(number, rows as usize)? else { return Ok(None) };
            window.skip(std::mem::take(&mut self.skipped) as usize);
            return Ok(Some(window));
        }
    }

    /// A window of at most so many rows.
    fn load(&mut self, number: u64, rows: usize) -> Result<Option<Window>> {
        let mut values = RowValues::reused(&self.spares, self.dtype, rows * self.width);
        let mut numbers = Vec::with_capacity(rows);
        while numbers.len() < rows
            && let Some(row) = self.next_row(&mut values, numbers.len())?
        {
            numbers.push(row);
        }
        if numbers.is_empty() {
            return Ok(None);
        }
        values.truncate(numbers.len() * self.width);
        let order = if let RowOrder::Mixed { .. } = self.order {
            Some(mixed(rows, numbers.len(), self.seed, number))
        } else {
            None
        };
        Ok(Some(Window::new(values, numbers, order, self.width)))
    }

    /// Puts the next row that is not left out at a place among values, and gives its number; none at the end.
    fn next_row(&mut self, values: &mut RowValues, place: usize) -> Result<Option<u64>> {
        let row_bytes = self.width * self.dtype.bytes();
        while self.source.next < self.source.chunk.rows || self.source.advance()? {
            let (at, number) = (self.source.next, self.source.before + self.source.next as u64);
            self.source.next += 1;
            if self.source.token(at).is_some_and(|token| self.filter.exclude_tokens.contains(&token)) {
                self.left_out.by_token.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let bytes = &self.source.chunk.values[at * row_bytes..][..row_bytes];
            values.bytes_mut()[place * row_bytes..][..row_bytes].copy_from_slice(bytes);
            let row = values.view().slice(place * self.width..(place + 1) * self.width);
            match row.first_not_finite() {
                None => return Ok(Some(number)),
                Some(_) if self.filter.skip_bad => {
                    self.left_out.not_finite.fetch_add(1, Ordering::Relaxed);
                }
                Some(column) => return Err(self.not_finite(number, column, row)),
            }
        }
        Ok(None)
    }

    fn not_finite(&self, row: u64, column: usize, values: RowsView<'_>) -> Error {
        let value = values.to_f32()[column];
        let problem = format!(
            "{}, row {row}, column {column} is {value}: only finite numbers can be used; recompute it, or leave such \
             rows out (--bad-rows skip)",
            self.source.stream.label()
        );
        Error::data(ArrowStream::NAME, problem)
    }
}

impl Source {
    /// Reads the next record batch; false at the end.
    fn advance(&mut self) -> Result<bool> {
        self.before = self.stream.rows_read();
        self.next = 0;
        self.chunk.rows = 0;
        self.stream.next_into(&mut self.chunk)
    }

    /// The token of a row of the chunk, if the stream has tokens that fit.
    fn token(&self, row: usize) -> Option<i32> {
        let (at, column) = token_column(self.stream.columns())?;
        token_at(column.dtype?, &self.chunk.columns[at], row)
    }
}

/// The token at a place of a column, if it fits.
fn token_at(dtype: Dtype, column: &[u8], row: usize) -> Option<i32> {
    let bytes = column.get(row * dtype.bytes()..(row + 1) * dtype.bytes())?;
    let mut value = [0; 8];
    value[..bytes.len()].copy_from_slice(bytes);
    match dtype {
        Dtype::I32 => Some(i32::from_le_bytes([value[0], value[1], value[2], value[3]])),
        _ => i64::from_le_bytes(value).try_into().ok(),
    }
}

/// The order in which the rows of a window of room for `room` are taken, of which `count` came.
fn mixed(room: usize, count: usize, seed: u64, window: u64) -> Vec<usize> {
    let mut places: Vec<usize> = (0..room).collect();
    mix(&mut places, seed, window);
    let mut order = vec![0; room];
    places.into_iter().enumerate().for_each(|(row, place)| order[place] = row);
    order.retain(|&row| row < count);
    order
}

fn token_column(columns: &[Column]) -> Option<(usize, &Column)> {
    columns.iter().enumerate().find(|(_, column)| column.name == TOKENS)
}

#[cfg(test)]
mod tests;
