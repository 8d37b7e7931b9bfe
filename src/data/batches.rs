//! Batches of rows, read ahead on threads of their own.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::order::EpochOrder;
use super::spares::Spares;
use super::windows::{TableWindows, Window, Windows};
use super::{Activations, FilteredRows, RowNumbers, RowOrder, RowValues};
use crate::error::{Error, Result};

/// Threads that read batches, each ahead by one: more do not help where memory is the limit.
const READERS: usize = 4;

/// Some rows of the data.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rows, `[count, width]`.
    pub rows: RowValues,
    /// Number of rows.
    pub count: usize,
    /// Which rows of the data they are ([`Activations::place_of`]); empty where they come from elsewhere.
    pub numbers: RowNumbers,
}

impl Batch {
    /// A batch of `[count, width]` rows that come from elsewhere.
    pub fn new(rows: impl Into<RowValues>, width: usize) -> Self {
        let rows = rows.into();
        let count = rows.len() / width;
        Self { rows, count, numbers: RowNumbers::default() }
    }
}

/// A stream of batches, prefetched. It ends after its last batch or its first error.
///
/// A panic of a reading thread is resumed in the thread that asks for the next batch.
#[derive(Debug)]
pub struct Batches {
    /// Those of each reading thread, which give batches by turns.
    readers: Vec<Reading>,
    turn: usize,
    /// The next ones.
    peeked: VecDeque<Batch>,
}

#[derive(Debug)]
struct Reading {
    receiver: Receiver<Result<Batch>>,
    thread: Option<JoinHandle<()>>,
}

/// The part of an endless stream of rows that is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Rows of a batch.
    pub batch: usize,
    /// Seed of the order.
    pub seed: u64,
    /// Position of the first row.
    pub first: u64,
    /// Number of batches.
    pub steps: u64,
}

impl Batches {
    /// Batches of an endless stream: each epoch is all selected rows in an order of its own, and a batch may straddle
    /// two epochs.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] when the batch is larger than the data; [`Error::Config`] when it is empty, or the
    /// positions exceed 64 bits.
    pub fn shuffled(rows: impl Into<FilteredRows>, order: RowOrder, stretch: Stretch) -> Result<Self> {
        let Stretch { batch, seed, first, steps } = stretch;
        let rows = rows.into();
        check_stretch(&stretch, Some(rows.rows()))?;
        let is_mixed = matches!(order, RowOrder::Mixed { .. });
        let window = order.window_rows();
        let order = EpochOrder { selected: rows, seed, block: order.block() };
        if is_mixed {
            let width = order.selected.data().width();
            return Self::of_windows(TableWindows { order, window, position: first }.start()?, width, stretch);
        }
        let (data, size) = (order.selected.data().clone(), batch as u64);
        Self::read_by_turns(data, steps, move |step, numbers| {
            let start = first + step * size;
            order.extend(numbers, start..start + size);
        })
    }

    /// Every selected row once, in file order, `batch` at a time; the last batch may be shorter.
    ///
    /// # Errors
    /// [`Error::Config`] when the batch is empty.
    pub fn in_order(rows: impl Into<FilteredRows>, batch: usize) -> Result<Self> {
        check_batch(batch)?;
        let rows = rows.into();
        let (data, size) = (rows.data().clone(), batch as u64);
        Self::read_by_turns(data, rows.rows().div_ceil(size), move |number, numbers| {
            let start = number * size;
            numbers.extend((start..rows.rows()).take(batch).map(|place| rows.row(place)));
        })
    }

    /// These rows, by number, in their order, `batch` at a time; the last batch may be shorter.
    ///
    /// # Errors
    /// [`Error::Config`] when the batch is empty; a row that does not exist is an error of its batch.
    pub fn of_rows(data: Arc<Activations>, wanted: Arc<[u64]>, batch: usize) -> Result<Self> {
        check_batch(batch)?;
        let count = wanted.len().div_ceil(batch) as u64;
        Self::read_by_turns(data, count, move |number, numbers| {
            let start = number as usize * batch;
            numbers.extend_from_slice(&wanted[start..wanted.len().min(start + batch)]);
        })
    }

    /// Batches `0..count`, whose rows `rows` appends, each read by one of several threads.
    fn read_by_turns(
        data: Arc<Activations>,
        count: u64,
        rows: impl Fn(u64, &mut Vec<u64>) + Send + Sync + 'static,
    ) -> Result<Self> {
        let rows = Arc::new(rows);
        let (spares, spare_numbers) = (Arc::new(Spares::default()), Arc::new(Spares::default()));
        let threads = thread::available_parallelism().map_or(1, usize::from).min(READERS);
        let readers = (0..threads).map(|turn| {
            let (data, rows) = (data.clone(), rows.clone());
            let (spares, spare_numbers) = (spares.clone(), spare_numbers.clone());
            let batches = (turn as u64..count).step_by(threads).map(move |number| {
                let mut numbers = RowNumbers::reused(&spare_numbers);
                rows(number, numbers.numbers_mut());
                let mut values = RowValues::reused(&spares, data.dtype(), numbers.len() * data.width());
                data.read_values(&numbers, &mut values)?;
                Ok(Batch { rows: values, count: numbers.len(), numbers })
            });
            Reading::start(batches)
        });
        Ok(Self::of(readers.collect::<Result<_>>()?))
    }

    /// Batches of what windows hold; what is left at their end is no whole batch.
    pub(super) fn of_windows(mut windows: Windows, width: usize, stretch: Stretch) -> Result<Self> {
        check_stretch(&stretch, None)?;
        let batch = stretch.batch;
        let (spares, spare_numbers) = (Arc::new(Spares::default()), Arc::new(Spares::default()));
        let mut current: Option<Window> = None;
        let batches = std::iter::from_fn(move || {
            let mut values: Option<RowValues> = None;
            let mut numbers = RowNumbers::reused(&spare_numbers);
            while numbers.len() < batch {
                let Some(window) = current.as_mut().filter(|window| window.left() > 0) else {
                    // Its memory is used again for one that is being loaded.
                    current = None;
                    match windows.next()? {
                        Ok(window) => current = Some(window),
                        Err(error) => return Some(Err(error)),
                    }
                    continue;
                };
                let values = values.get_or_insert_with(|| RowValues::reused(&spares, window.dtype(), batch * width));
                let wanted = (batch - numbers.len()).min(window.left());
                window.take(wanted, numbers.numbers_mut(), values);
            }
            values.map(|rows| Ok(Batch { rows, count: numbers.len(), numbers }))
        });
        let steps = usize::try_from(stretch.steps).unwrap_or(usize::MAX);
        Ok(Self::of(vec![Reading::start(batches.take(steps))?]))
    }

    fn of(readers: Vec<Reading>) -> Self {
        Self { readers, turn: 0, peeked: VecDeque::new() }
    }

    /// The next batch, if it comes in time.
    pub fn poll(&mut self, patience: Duration) -> Poll<Option<Result<Batch>>> {
        if let Some(peeked) = self.peeked.pop_front() {
            return Poll::Ready(Some(Ok(peeked)));
        }
        let Some(reading) = self.readers.get_mut(self.turn) else { return Poll::Ready(None) };
        match reading.receiver.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => Poll::Pending,
            Ok(batch) => {
                self.turn = (self.turn + 1) % self.readers.len();
                if batch.is_err() {
                    self.readers.clear();
                }
                Poll::Ready(Some(batch))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let mut ended = std::mem::take(&mut self.readers);
                join(ended[self.turn].thread.take());
                Poll::Ready(None)
            }
        }
    }

    /// The batch that comes next.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none, and its own.
    pub fn peek(&mut self) -> Result<&Batch> {
        self.peek_some(1)?.next().ok_or_else(|| Error::Config("there is no row to train on".into()))
    }

    /// The batches that come next, at most `count`.
    ///
    /// # Errors
    /// Their own.
    pub(super) fn peek_some(&mut self, count: usize) -> Result<impl Iterator<Item = &Batch>> {
        let mut peeked = std::mem::take(&mut self.peeked);
        while peeked.len() < count
            && let Some(batch) = self.next().transpose()?
        {
            peeked.push_back(batch);
        }
        self.peeked = peeked;
        Ok(self.peeked.iter().take(count))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Poll::Ready(next) = self.poll(Duration::MAX) {
                return next;
            }
        }
    }
}

impl Reading {
    fn start(batches: impl Iterator<Item = Result<Batch>> + Send + 'static) -> Result<Self> {
        let (sender, receiver): (SyncSender<Result<Batch>>, _) = sync_channel(0);
        let thread = spawn("monosem-data", move || {
            for batch in batches {
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { receiver, thread: Some(thread) })
    }
}

/// A thread that reads.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work).map_err(Error::io("the thread that reads the data"))
}

/// Waits for a thread that has ended; its panic is resumed.
pub(super) fn join(thread: Option<JoinHandle<()>>) {
    if let Some(Err(panic)) = thread.map(JoinHandle::join) {
        resume_unwind(panic);
    }
}

/// Fails for a stretch that makes no batches, of so many rows an epoch.
pub(super) fn check_stretch(stretch: &Stretch, rows: Option<u64>) -> Result<()> {
    let Stretch { batch, first, steps, .. } = *stretch;
    check_batch(batch)?;
    if let Some(rows) = rows.filter(|&rows| rows < batch as u64) {
        return Err(Error::BatchTooLarge { batch: batch as u64, rows });
    }
    if (batch as u64).checked_mul(steps).and_then(|rows| rows.checked_add(first)).is_none() {
        return Err(Error::Config(format!(
            "{steps} steps of {batch} rows from row {first} on are more than 2^64 rows: take fewer steps"
        )));
    }
    Ok(())
}

fn check_batch(batch: usize) -> Result<()> {
    match batch {
        0 => Err(Error::Config("a batch of 0 rows: it must have at least 1".into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
