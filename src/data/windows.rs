//! Rows on their way through a mixing buffer: windows of rows, each in random order, loaded one ahead of the other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::batches::spawn;
use super::order::{EpochOrder, mix};
use super::row_values::Values;
use super::spares::Spares;
use super::{Activations, RowValues};
use crate::error::Result;
use crate::storage::Dtype;

/// Rows that are in memory together, and the order in which they are trained on.
#[derive(Debug)]
pub(super) struct Window {
    values: RowValues,
    numbers: Vec<u64>,
    /// Their places among the values; none where they are taken as they lie.
    order: Option<Vec<usize>>,
    row_bytes: usize,
    /// Rows that were taken or passed over.
    used: usize,
}

impl Window {
    /// Rows of `width` values, their numbers, and the order in which they are taken.
    pub fn new(values: RowValues, numbers: Vec<u64>, order: Option<Vec<usize>>, width: usize) -> Self {
        let row_bytes = width * values.dtype().bytes();
        debug_assert!(values.len() == numbers.len() * width);
        debug_assert!(order.as_ref().is_none_or(|order| order.len() == numbers.len()));
        Self { values, numbers, order, row_bytes, used: 0 }
    }

    /// Passes over rows.
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

    /// Takes rows from its front, at most as many as are left, to the rows behind those that `numbers` names.
    pub fn take(&mut self, rows: usize, numbers: &mut Vec<u64>, values: &mut RowValues) {
        let (range, row_bytes) = (self.used..self.used + rows, self.row_bytes);
        let stored = self.values.view().bytes();
        let target = &mut values.bytes_mut()[numbers.len() * row_bytes..][..rows * row_bytes];
        match &self.order {
            None => {
                target.copy_from_slice(&stored[range.start * row_bytes..range.end * row_bytes]);
                numbers.extend_from_slice(&self.numbers[range.clone()]);
            }
            Some(order) => {
                for (&place, target) in order[range.clone()].iter().zip(target.chunks_exact_mut(row_bytes)) {
                    target.copy_from_slice(&stored[place * row_bytes..][..row_bytes]);
                    numbers.push(self.numbers[place]);
                }
            }
        }
        self.used = range.end;
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
fn load(order: &EpochOrder, window: u64, position: u64, spares: &Arc<Spares<Values>>) -> Result<Window> {
    let data: &Activations = order.selected.data();
    let len = order.selected.rows();
    let (epoch, place) = (position / len, position % len);
    let (number, skipped) = (place / window, place % window);
    let first = epoch * len + number * window;
    let count = window.min(len - number * window);
    let numbers = order.rows(first..first + count);
    let mut mixed: Vec<usize> = (0..numbers.len()).collect();
    mix(&mut mixed, order.seed, epoch * len.div_ceil(window) + number);
    let mut values = RowValues::reused(spares, data.dtype(), numbers.len() * data.width());
    data.read_values(&numbers, &mut values)?;
    let mut window = Window::new(values, numbers, Some(mixed), data.width());
    window.skip(skipped as usize);
    Ok(window)
}
