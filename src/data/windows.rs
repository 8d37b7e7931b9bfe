//! Rows on their way through a mixing buffer: windows of rows, each in random order, loaded one ahead of the other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::batches::spawn;
use super::order::{EpochOrder, mix};
use super::row_values::Spares;
use super::{Activations, RowValues};
use crate::error::Result;

/// Rows in the order in which they are trained on.
#[derive(Debug)]
pub(super) struct Window {
    pub values: RowValues,
    pub numbers: Vec<u64>,
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
            // What is left of the window at the position.
            position += loaded.as_ref().map_or(0, |loaded| loaded.numbers.len() as u64);
            Some(loaded)
        })
    }
}

/// The rows of a window from a position on.
fn load(order: &EpochOrder, window: u64, position: u64, spares: &Arc<Spares>) -> Result<Window> {
    let data: &Activations = order.rows.data();
    let len = order.rows.rows();
    let (epoch, place) = (position / len, position % len);
    let (number, skipped) = (place / window, place % window);
    let first = epoch * len + number * window;
    let count = window.min(len - number * window);
    let mut numbers: Vec<u64> = (first..first + count).map(|position| order.row(position)).collect();
    mix(&mut numbers, order.seed, epoch * len.div_ceil(window) + number);
    numbers.drain(..skipped as usize);
    let mut values = RowValues::reused(spares, data.dtype(), numbers.len() * data.width());
    data.read_values(&numbers, &mut values)?;
    Ok(Window { values, numbers })
}
