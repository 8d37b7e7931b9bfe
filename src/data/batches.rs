//! Batches of rows, read ahead on threads of their own.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::order::EpochOrder;
use super::row_values::Spares;
use super::windows::{TableWindows, Window, Windows};
use super::{Activations, FilteredRows, RowOrder, RowStatistics, RowValues};
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
    pub numbers: Vec<u64>,
    /// Σ|x - mean of the batch|² over its rows.
    pub variance: f64,
}

impl Batch {
    /// A batch of `[count, width]` rows that come from elsewhere.
    pub fn new(rows: impl Into<RowValues>, width: usize) -> Self {
        let rows = rows.into();
        let count = rows.len() / width;
        Self { numbers: Vec::new(), count, ..BatchMaker::new(width).make(rows, Vec::new()) }
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
    peeked: Option<Batch>,
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
        Self::read_by_turns(data, steps, move |step| {
            let start = first + step * size;
            order.rows(start..start + size)
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
        Self::read_by_turns(data, rows.rows().div_ceil(size), move |number| {
            let start = number * size;
            (start..rows.rows()).take(batch).map(|place| rows.row(place)).collect()
        })
    }

    /// Batches `0..count`, whose rows `rows` tells, each read by one of several threads.
    fn read_by_turns(
        data: Arc<Activations>,
        count: u64,
        rows: impl Fn(u64) -> Vec<u64> + Send + Sync + 'static,
    ) -> Result<Self> {
        let (rows, spares) = (Arc::new(rows), Arc::new(Spares::default()));
        let threads = thread::available_parallelism().map_or(1, usize::from).min(READERS);
        let readers = (0..threads).map(|turn| {
            let (data, rows, spares) = (data.clone(), rows.clone(), spares.clone());
            let mut maker = BatchMaker::new(data.width());
            let batches = (turn as u64..count).step_by(threads).map(move |number| {
                let rows = rows(number);
                let mut values = RowValues::reused(&spares, data.dtype(), rows.len() * data.width());
                data.read_values(&rows, &mut values)?;
                Ok(maker.make(values, rows))
            });
            Reading::start(batches)
        });
        Ok(Self::of(readers.collect::<Result<_>>()?))
    }

    /// Batches of what windows hold; what is left at their end is no whole batch.
    pub(super) fn of_windows(mut windows: Windows, width: usize, stretch: Stretch) -> Result<Self> {
        check_stretch(&stretch, None)?;
        let (batch, spares) = (stretch.batch, Arc::new(Spares::default()));
        let mut maker = BatchMaker::new(width);
        let mut current: Option<Window> = None;
        let batches = std::iter::from_fn(move || {
            let mut values: Option<RowValues> = None;
            let mut numbers = Vec::with_capacity(batch);
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
                numbers.extend_from_slice(window.take(wanted, numbers.len(), values));
            }
            values.map(|values| Ok(maker.make(values, numbers)))
        });
        let steps = usize::try_from(stretch.steps).unwrap_or(usize::MAX);
        Ok(Self::of(vec![Reading::start(batches.take(steps))?]))
    }

    fn of(readers: Vec<Reading>) -> Self {
        Self { readers, turn: 0, peeked: None }
    }

    /// The next batch, if it comes in time.
    pub fn poll(&mut self, patience: Duration) -> Poll<Option<Result<Batch>>> {
        if let Some(peeked) = self.peeked.take() {
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
        let next = self.next().ok_or_else(|| Error::Config("there is no row to train on".into()))??;
        Ok(self.peeked.insert(next))
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

/// Makes batches of rows, with memory that is used again.
struct BatchMaker {
    width: usize,
    scratch: Vec<f32>,
}

impl BatchMaker {
    fn new(width: usize) -> Self {
        Self { width, scratch: Vec::new() }
    }

    fn make(&mut self, values: RowValues, numbers: Vec<u64>) -> Batch {
        let mut statistics = RowStatistics::new(self.width);
        statistics.add_stored(values.view(), &mut self.scratch);
        Batch { rows: values, count: numbers.len(), numbers, variance: statistics.total_variance() }
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
mod tests {
    use super::*;
    use crate::data::Permutation;
    use crate::storage::fixtures::{Tensor, write};

    /// `rows` rows of one column that hold their own numbers.
    fn numbered(rows: usize) -> Arc<Activations> {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..rows).map(|row| row as f32).collect();
        let path = dir.path().join("numbered.safetensors");
        write(&path, &[Tensor::f32("activations", &[rows, 1], &values)], &[]);
        // The open file outlives its name.
        Arc::new(Activations::open(&[path]).unwrap())
    }

    fn stream(batches: Batches) -> Vec<Vec<f32>> {
        batches.map(|batch| batch.unwrap().rows.to_f32().into_owned()).collect()
    }

    #[test]
    fn shuffled_is_one_stream_of_whole_epochs() {
        let data = numbered(10);
        let stretch = Stretch { batch: 4, seed: 5, first: 0, steps: 10 };
        let all = stream(Batches::shuffled(data.clone(), RowOrder::Rows, stretch).unwrap());
        assert_eq!(all.len(), 10);
        let rows = all.concat();
        for (epoch, rows) in rows.chunks(10).enumerate() {
            let order = Permutation::new(10, 5, epoch as u64);
            assert!(rows.iter().map(|&row| row as u64).eq((0..10).map(|i| order.at(i))), "epoch {epoch}");
        }
        let stretch = Stretch { first: 12, steps: 7, ..stretch };
        let resumed = stream(Batches::shuffled(data, RowOrder::Rows, stretch).unwrap());
        assert_eq!(resumed, all[3..]);
    }

    #[test]
    fn every_order_has_every_row_once_an_epoch_and_resumes_anywhere() {
        const ROWS: u64 = 53;
        let data = numbered(ROWS as usize);
        let orders = [
            RowOrder::Rows,
            RowOrder::Sequential { block: 5 },
            RowOrder::Mixed { block: 5, blocks: 3 },
            RowOrder::Mixed { block: 5, blocks: 100 },
            RowOrder::Mixed { block: 1, blocks: 1 },
        ];
        for order in orders {
            let read = |seed, first, steps| {
                stream(Batches::shuffled(data.clone(), order, Stretch { batch: 4, seed, first, steps }).unwrap())
            };
            let all = read(5, 0, 3 * ROWS / 4);
            for epoch in all.concat().chunks_exact(ROWS as usize) {
                let mut rows = epoch.to_vec();
                rows.sort_unstable_by(f32::total_cmp);
                assert!(rows.into_iter().eq((0..ROWS).map(|row| row as f32)), "{order:?}: {epoch:?}");
            }
            for step in [1, 3, 4, 12, 13, 14, 30, 38] {
                assert_eq!(read(5, 4 * step, 3 * ROWS / 4 - step), all[step as usize..], "{order:?}, step {step}");
            }
            assert_ne!(read(6, 0, 9), all[..9], "{order:?}");
        }
    }

    #[test]
    fn a_batch_that_was_looked_at_is_still_the_next() {
        let stretch = Stretch { batch: 4, seed: 0, first: 0, steps: 2 };
        let mut batches = Batches::shuffled(numbered(10), RowOrder::Rows, stretch).unwrap();
        let first = batches.peek().unwrap().numbers.clone();
        assert_eq!(batches.peek().unwrap().numbers, first);
        assert_eq!(batches.next().unwrap().unwrap().numbers, first);
        assert_ne!(batches.next().unwrap().unwrap().numbers, first);
        assert!(batches.next().is_none() && batches.peek().is_err());
    }

    #[test]
    fn in_order_ends_with_the_rest() {
        let batches: Vec<_> = Batches::in_order(numbered(10), 4).unwrap().map(Result::unwrap).collect();
        let counts: Vec<_> = batches.iter().map(|batch| (batch.count, batch.variance)).collect();
        assert_eq!(counts, [(4, 5.0), (4, 5.0), (2, 0.5)]);
        assert!(batches.iter().flat_map(|batch| &batch.numbers).copied().eq(0..10));
        assert!(batches.iter().flat_map(|batch| batch.rows.to_f32().into_owned()).eq((0..10).map(|i| i as f32)));
    }

    #[test]
    fn refuses_what_cannot_be_batched() {
        let data = numbered(10);
        let shuffled = |batch, first, steps| {
            Batches::shuffled(data.clone(), RowOrder::Rows, Stretch { batch, seed: 0, first, steps })
        };
        let Err(Error::BatchTooLarge { batch: 11, rows: 10 }) = shuffled(11, 0, 1) else { panic!("accepted") };
        for (result, expected) in [
            (shuffled(0, 0, 1), vec!["0 rows"]),
            (shuffled(4, 4, u64::MAX / 4), vec!["2^64"]),
            (Batches::in_order(data.clone(), 0), vec!["0 rows"]),
        ] {
            let Err(Error::Config(message)) = result else { panic!("accepted; expected {expected:?}") };
            assert!(expected.iter().all(|part| message.contains(part)), "{message}");
        }
    }

    #[test]
    fn an_error_ends_the_stream() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.safetensors");
        write(&path, &[Tensor::f32("activations", &[3, 1], &[0.0, f32::NAN, 2.0])], &[]);
        let mut batches = Batches::in_order(Arc::new(Activations::open(&[path]).unwrap()), 1).unwrap();
        assert!(batches.next().unwrap().is_ok());
        assert!(batches.next().unwrap().is_err());
        assert!(batches.next().is_none());
    }

    #[test]
    fn a_panic_reaches_the_consumer() {
        let mut batches = Batches::read_by_turns(numbered(1), 1, |_| panic!("lost")).unwrap();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batches.next())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"lost"));
    }

    #[test]
    fn dropping_the_stream_ends_its_threads() {
        let stretch = Stretch { batch: 1, seed: 0, first: 0, steps: u64::MAX };
        for order in [RowOrder::Rows, RowOrder::Mixed { block: 1, blocks: 2 }] {
            let mut batches = Batches::shuffled(numbered(10), order, stretch).unwrap();
            let threads: Vec<_> = batches.readers.iter_mut().map(|reading| reading.thread.take().unwrap()).collect();
            drop(batches);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }
}
