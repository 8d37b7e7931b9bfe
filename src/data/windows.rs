//! Rows on their way through a mixing buffer: windows of rows, each in random order, loaded one ahead of the other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::batches::spawn;
use super::order::{EpochOrder, mix};
use super::row_values::Spares;
use super::{Activations, RowValues};
use crate::error::Result;
use crate::storage::Dtype;

/// Rows in the order in which they are trained on.
#[derive(Debug)]
pub(super) struct Window {
    values: RowValues,
    numbers: Vec<u64>,
    /// Rows that were taken or passed over.
    used: usize,
}

impl Window {
    pub fn new(values: RowValues, numbers: Vec<u64>, width: usize) -> Self {
        debug_assert_eq!(values.len(), numbers.len() * width);
        Self { values, numbers, used: 0 }
    }

    /// Only the rows at `places`, in their order in the window.
    #[cfg(feature = "arrow")]
    pub fn compact(mut values: RowValues, mut numbers: Vec<u64>, places: &[usize], width: usize) -> Self {
        let row_bytes = width * values.dtype().bytes();
        let mut places = places.to_vec();
        places.sort_unstable();
        for (target, &place) in places.iter().enumerate() {
            numbers[target] = numbers[place];
            values.bytes_mut().copy_within(place * row_bytes..(place + 1) * row_bytes, target * row_bytes);
        }
        numbers.truncate(places.len());
        values.truncate(places.len() * width);
        Self::new(values, numbers, width)
    }

    /// Passes over rows.
    #[cfg(feature = "arrow")]
    pub fn skip(&mut self, rows: usize) {
        self.used = (self.used + rows).min(self.numbers.len());
    }

    /// Type of the values.
    pub fn dtype(&self) -> Dtype {
        self.values.dtype()
    }

    /// Number of rows that are left.
    pub fn left(&self) -> usize {
        self.numbers.len() - self.used
    }

    /// Takes rows from its front, at most as many as are left, to `place` among `values`.
    pub fn take(&mut self, rows: usize, place: usize, values: &mut RowValues) -> &[u64] {
        let row_bytes = self.values.view().bytes().len() / self.numbers.len();
        let range = self.used..self.used + rows;
        let source = &self.values.view().bytes()[range.start * row_bytes..range.end * row_bytes];
        values.bytes_mut()[place * row_bytes..][..source.len()].copy_from_slice(source);
        self.used = range.end;
        &self.numbers[range]
    }
}

/// Windows that a thread loads: it holds one that is loaded while another is in use.
#[derive(Debug)]
pub(super) struct Windows {
    receiver: Receiver<Result<Window>>,
    loader: Option<JoinHandle<()>>,
}

/// The windows of a table, from a position in its stream of epochs on.
pub(super) struct TableWindows {
    pub order: EpochOrder,
    /// Rows of a window; the last of an epoch may have fewer.
    pub window: u64,
    pub position: u64,
}

impl Windows {
    /// Loads the windows that `load` gives, until it gives none or an error.
    pub fn start(mut load: impl FnMut() -> Option<Result<Window>> + Send + 'static) -> Result<Self> {
        let (sender, receiver): (SyncSender<Result<Window>>, _) = sync_channel(0);
        let loader = spawn("monosem-loader", move || {
            while let Some(window) = load() {
                let failed = window.is_err();
                if sender.send(window).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { receiver, loader: Some(loader) })
    }

    /// The next window; none after the last. A panic of the loader is resumed.
    pub fn next(&mut self) -> Option<Result<Window>> {
        self.receiver.recv().ok().or_else(|| {
            super::batches::join(self.loader.take());
            None
        })
    }
}

impl TableWindows {
    /// Loads them on a thread of their own.
    pub fn start(self) -> Result<Windows> {
        let Self { order, window, mut position } = self;
        let spares = Arc::new(Spares::default());
        Windows::start(move || {
            let loaded = load(&order, window, position, &spares);
            position += loaded.as_ref().map_or(0, |loaded| loaded.left() as u64);
            Some(loaded)
        })
    }
}

/// The rows of a window from a position on.
fn load(order: &EpochOrder, window: u64, position: u64, spares: &Arc<Spares>) -> Result<Window> {
    let data: &Activations = order.selected.data();
    let len = order.selected.rows();
    let (epoch, place) = (position / len, position % len);
    let (number, skipped) = (place / window, place % window);
    let first = epoch * len + number * window;
    let count = window.min(len - number * window);
    let mut numbers = order.rows(first..first + count);
    mix(&mut numbers, order.seed, epoch * len.div_ceil(window) + number);
    numbers.drain(..skipped as usize);
    let mut values = RowValues::reused(spares, data.dtype(), numbers.len() * data.width());
    data.read_values(&numbers, &mut values)?;
    Ok(Window::new(values, numbers, data.width()))
}
