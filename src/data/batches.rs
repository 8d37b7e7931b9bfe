//! Batches of rows, read ahead on a thread of their own.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::{Activations, FilteredRows, Permutation, RowStatistics};
use crate::error::{Error, Result};

/// Batches that wait while one is in use.
const DEPTH: usize = 2;

/// Some rows of the data.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rows, `[count, width]`.
    pub rows: Vec<f32>,
    /// Number of rows.
    pub count: usize,
    /// Which rows of the data they are ([`Activations::place_of`]); empty where they come from elsewhere.
    pub numbers: Vec<u64>,
    /// Σ|x - mean of the batch|² over its rows.
    pub variance: f64,
}

/// A stream of batches, prefetched. It ends after its last batch or its first error.
///
/// A panic of the reading thread is resumed in the thread that asks for the next batch.
#[derive(Debug)]
pub struct Batches {
    receiver: Receiver<Result<Batch>>,
    reader: Option<JoinHandle<()>>,
}

impl Batches {
    /// `steps` batches of `batch` rows from an endless stream, starting at its position `first`: each epoch is all
    /// selected rows in an order of its own ([`Permutation`]), and a batch may straddle two epochs.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] when the batch is larger than the data; [`Error::Config`] when it is empty, or the
    /// positions exceed 64 bits.
    pub fn shuffled(rows: impl Into<FilteredRows>, batch: usize, seed: u64, first: u64, steps: u64) -> Result<Self> {
        check_batch(batch)?;
        let rows = rows.into();
        let (len, size) = (rows.rows(), batch as u64);
        if len < size {
            return Err(Error::BatchTooLarge { batch: size, rows: len });
        }
        if size.checked_mul(steps).and_then(|rows| rows.checked_add(first)).is_none() {
            return Err(Error::Config(format!(
                "{steps} steps of {batch} rows from row {first} on are more than 2^64 rows: take fewer steps"
            )));
        }
        let data = rows.data().clone();
        let row = move |position| shuffled_row(&rows, seed, position);
        Self::spawn(
            data,
            (0..steps).map(move |step| {
                let start = first + step * size;
                (start..start + size).map(&row).collect()
            }),
        )
    }

    /// Every selected row once, in file order, `batch` at a time; the last batch may be shorter.
    ///
    /// # Errors
    /// [`Error::Config`] when the batch is empty.
    pub fn in_order(rows: impl Into<FilteredRows>, batch: usize) -> Result<Self> {
        check_batch(batch)?;
        let rows = rows.into();
        let data = rows.data().clone();
        let starts = (0..rows.rows()).step_by(batch);
        Self::spawn(
            data,
            starts.map(move |start| (start..rows.rows()).take(batch).map(|place| rows.row(place)).collect()),
        )
    }

    fn spawn(data: Arc<Activations>, batches: impl Iterator<Item = Vec<u64>> + Send + 'static) -> Result<Self> {
        let (sender, receiver) = sync_channel(DEPTH);
        let reader = thread::Builder::new()
            .name("monosem-data".into())
            .spawn(move || send_all(&data, batches, &sender))
            .map_err(Error::io("the thread that reads the data"))?;
        Ok(Self { receiver, reader: Some(reader) })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.recv().ok().or_else(|| {
            if let Some(Err(panic)) = self.reader.take().map(JoinHandle::join) {
                resume_unwind(panic);
            }
            None
        })
    }
}

/// The row at a position in the endless stream of [`Batches::shuffled`].
pub(crate) fn shuffled_row(rows: &FilteredRows, seed: u64, position: u64) -> u64 {
    let len = rows.rows();
    rows.row(Permutation::new(len, seed, position / len).at(position % len))
}

fn send_all(data: &Activations, batches: impl Iterator<Item = Vec<u64>>, sender: &SyncSender<Result<Batch>>) {
    for rows in batches {
        let batch = read(data, rows);
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

fn read(data: &Activations, rows: Vec<u64>) -> Result<Batch> {
    let mut values = vec![0.0; rows.len() * data.width()];
    data.read(&rows, &mut values)?;
    let mut statistics = RowStatistics::new(data.width());
    statistics.add(&values);
    Ok(Batch { rows: values, count: rows.len(), numbers: rows, variance: statistics.total_variance() })
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
        batches.map(|batch| batch.unwrap().rows).collect()
    }

    #[test]
    fn shuffled_is_one_stream_of_whole_epochs() {
        let data = numbered(10);
        let all = stream(Batches::shuffled(data.clone(), 4, 5, 0, 10).unwrap());
        assert_eq!(all.len(), 10);
        let rows = all.concat();
        for (epoch, rows) in rows.chunks(10).enumerate() {
            let order = Permutation::new(10, 5, epoch as u64);
            assert!(rows.iter().map(|&row| row as u64).eq((0..10).map(|i| order.at(i))), "epoch {epoch}");
        }
        let resumed = stream(Batches::shuffled(data, 4, 5, 12, 7).unwrap());
        assert_eq!(resumed, all[3..]);
    }

    #[test]
    fn in_order_ends_with_the_rest() {
        let batches: Vec<_> = Batches::in_order(numbered(10), 4).unwrap().map(Result::unwrap).collect();
        let counts: Vec<_> = batches.iter().map(|batch| (batch.count, batch.variance)).collect();
        assert_eq!(counts, [(4, 5.0), (4, 5.0), (2, 0.5)]);
        assert!(batches.iter().flat_map(|batch| &batch.numbers).copied().eq(0..10));
        assert!(batches.iter().flat_map(|batch| &batch.rows).eq(&(0..10).map(|i| i as f32).collect::<Vec<_>>()));
    }

    #[test]
    fn refuses_what_cannot_be_batched() {
        let data = numbered(10);
        let Err(Error::BatchTooLarge { batch: 11, rows: 10 }) = Batches::shuffled(data.clone(), 11, 0, 0, 1) else {
            panic!("accepted")
        };
        for (result, expected) in [
            (Batches::shuffled(data.clone(), 0, 0, 0, 1), vec!["0 rows"]),
            (Batches::shuffled(data.clone(), 4, 0, 4, u64::MAX / 4), vec!["2^64"]),
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
        let mut batches = Batches::spawn(numbered(1), std::iter::from_fn(|| panic!("lost"))).unwrap();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batches.next())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"lost"));
    }

    #[test]
    fn dropping_the_stream_ends_its_thread() {
        let mut batches = Batches::shuffled(numbered(10), 1, 0, 0, u64::MAX).unwrap();
        let reader = batches.reader.take().unwrap();
        drop(batches);
        reader.join().unwrap();
    }
}
