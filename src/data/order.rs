//! The order in which rows are trained on.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{FilteredRows, Permutation};
use crate::rng::{Purpose, Rng};
use crate::storage::Dtype;

/// The values of a block of consecutive rows: 512 KiB of 16-bit floats, enough to read at the speed of a disk.
const BLOCK_VALUES: usize = 1 << 18;

/// Data of at most so many bytes are read row by row in random order, beyond it by blocks: after the first epoch they
/// lie in the memory of most machines.
const SMALL_BYTES: u64 = 4 << 30;

/// The order of rows in an epoch. A resumed run needs the very same: the numbers are part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowOrder {
    /// A permutation of all rows, another in each epoch.
    #[default]
    Rows,
    /// Blocks of consecutive rows in a permuted order, another in each epoch, through a buffer that mixes the rows of
    /// so many blocks.
    Mixed {
        /// Rows of a block.
        block: u64,
        /// Blocks that are mixed.
        blocks: u64,
    },
    /// Blocks in a permuted order, another in each epoch, and the rows of each as they lie: for data that are shuffled
    /// already.
    Sequential {
        /// Rows of a block.
        block: u64,
    },
}

/// What an order follows from.
#[derive(Clone, Copy, Debug)]
pub struct RowKind {
    /// Number of rows; none of a stream.
    pub rows: Option<u64>,
    /// Values per row.
    pub width: usize,
    /// Type of the values: f16, bf16 or f32.
    pub dtype: Dtype,
    /// Whether they are said to be in random order.
    pub is_shuffled: bool,
}

/// The kind of order that is wanted; the numbers follow from the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderChoice {
    /// [`RowOrder::Sequential`] for data that say that they are shuffled, [`RowOrder::Rows`] for others of at most
    /// 4 GiB, [`RowOrder::Mixed`] beyond and for streams.
    #[default]
    Auto,
    /// [`RowOrder::Rows`].
    Rows,
    /// [`RowOrder::Mixed`].
    Mixed,
    /// [`RowOrder::Sequential`].
    Sequential,
}

impl RowOrder {
    /// The usual size of a mixing buffer.
    pub const BUFFER_BYTES: u64 = 1 << 30;

    /// The order for rows of such a kind, with a mixing buffer of so many bytes, whose halves are loaded and used by
    /// turns.
    pub fn new(choice: OrderChoice, kind: RowKind, buffer_bytes: u64) -> Self {
        let row_bytes = (kind.width * kind.dtype.bytes()) as u64;
        let block = (BLOCK_VALUES / kind.width).max(1) as u64;
        let blocks = (buffer_bytes / 2 / (block * row_bytes)).max(1);
        let are_small = kind.rows.is_some_and(|rows| rows.saturating_mul(row_bytes) <= SMALL_BYTES);
        match choice {
            OrderChoice::Auto if kind.is_shuffled => Self::Sequential { block },
            OrderChoice::Auto if are_small => Self::Rows,
            OrderChoice::Auto | OrderChoice::Mixed => Self::Mixed { block, blocks },
            OrderChoice::Rows => Self::Rows,
            OrderChoice::Sequential => Self::Sequential { block },
        }
    }

    /// Rows of a block, if there are blocks.
    pub(super) fn block(self) -> Option<u64> {
        match self {
            Self::Rows => None,
            Self::Mixed { block, .. } | Self::Sequential { block } => Some(block.max(1)),
        }
    }

    /// Rows that are loaded at a time.
    pub(super) fn window_rows(self) -> u64 {
        match self {
            Self::Mixed { block, blocks } => block.max(1).saturating_mul(blocks.max(1)),
            Self::Rows | Self::Sequential { .. } => self.block().unwrap_or(1),
        }
    }
}

/// The rows at the positions of an endless stream of epochs.
#[derive(Clone, Debug)]
pub(super) struct EpochOrder {
    pub selected: FilteredRows,
    pub seed: u64,
    /// Rows of a block; without blocks, every row is one.
    pub block: Option<u64>,
}

impl EpochOrder {
    /// The rows at these positions.
    pub fn rows(&self, positions: Range<u64>) -> Vec<u64> {
        let mut rows = Vec::with_capacity((positions.end - positions.start) as usize);
        self.extend(&mut rows, positions);
        rows
    }

    /// Appends the rows at these positions.
    pub fn extend(&self, rows: &mut Vec<u64>, positions: Range<u64>) {
        let (len, block) = (self.selected.rows(), self.block.unwrap_or(1));
        let blocks = len / block;
        let mut position = positions.start;
        while position < positions.end {
            let (epoch, mut place) = (position / len, position % len);
            let end = len.min(place + (positions.end - position));
            position += end - place;
            let order = Permutation::new(blocks, self.seed, epoch);
            while place < end {
                let number = place / block;
                // What is left of a block stays at the end.
                let stored = if number < blocks { order.at(number) } else { number };
                let count = (block - place % block).min(end - place);
                let first = stored * block + place % block;
                rows.extend((first..first + count).map(|place| self.selected.row(place)));
                place += count;
            }
        }
    }
}

/// Puts numbers in a random order: that of window `window` under `seed` (Fisher and Yates; Durstenfeld 1964).
pub(super) fn mix<T>(values: &mut [T], seed: u64, window: u64) {
    let rng = Rng::new(seed ^ window.rotate_left(32), Purpose::Mixing);
    for last in (1..values.len()).rev() {
        let [low, high, ..] = rng.block(last as u64, window as u32);
        // 64 random bits, scaled: no index is favoured by more than one part in 2^64 / len.
        let random = u64::from(high) << 32 | u64::from(low);
        let other = (u128::from(random) * (last as u128 + 1)) >> 64;
        values.swap(last, other as usize);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::Activations;
    use crate::storage::fixtures::{Tensor, write};

    fn data(rows: usize, width: usize, metadata: &[(&str, &str)]) -> Arc<Activations> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, &[Tensor::f32("activations", &[rows, width], &vec![0.0; rows * width])], metadata);
        Arc::new(Activations::open(&[path]).unwrap())
    }

    #[test]
    fn every_epoch_has_every_row_once() {
        for (rows, block) in [(10, None), (10, Some(3)), (9, Some(3)), (2, Some(3)), (1, Some(1)), (100, Some(7))] {
            let order = EpochOrder { selected: data(rows, 1, &[]).into(), seed: 5, block };
            let all = order.rows(0..4 * rows as u64);
            for (first, count) in [(0, 1), (1, 3 * rows - 1), (rows - 1, 2), (rows, rows)] {
                let part = order.rows(first as u64..(first + count) as u64);
                assert_eq!(part, all[first..first + count], "{rows} rows, {block:?}");
            }
            let epochs: Vec<&[u64]> = all.chunks(rows).collect();
            for epoch in &epochs {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..rows as u64), "{rows} rows, {block:?}: {epoch:?}");
            }
            assert!(rows < 9 || epochs.iter().any(|epoch| *epoch != epochs[0]), "{epochs:?}");
        }
    }

    #[test]
    fn a_block_stays_together() {
        let rows = EpochOrder { selected: data(1000, 1, &[]).into(), seed: 5, block: Some(10) }.rows(0..1000);
        assert!(rows.chunks(10).all(|block| block[0] % 10 == 0 && block.windows(2).all(|pair| pair[1] == pair[0] + 1)));
        assert!(!rows.is_sorted());
    }

    #[test]
    fn the_order_follows_from_the_data() {
        let choose = |data: &Activations, choice| RowOrder::new(choice, data.kind(), 4 << 20);
        let small = data(3, 1 << 16, &[]);
        assert_eq!(choose(&small, OrderChoice::Auto), RowOrder::Rows);
        assert_eq!(choose(&small, OrderChoice::Sequential), RowOrder::Sequential { block: 4 });
        // 2 MiB of blocks of 1 MiB each, as f32.
        assert_eq!(choose(&small, OrderChoice::Mixed), RowOrder::Mixed { block: 4, blocks: 2 });
        let shuffled = data(3, 1 << 20, &[("shuffled", "true")]);
        assert_eq!(choose(&shuffled, OrderChoice::Auto), RowOrder::Sequential { block: 1 });
        assert_eq!(choose(&shuffled, OrderChoice::Rows), RowOrder::Rows);
    }

    /// Pearson's statistic of where each of a few values lands, over many windows: its mean is its degrees of freedom,
    /// its deviation sqrt(2 dof).
    #[test]
    fn mixing_is_uniform() {
        const LEN: usize = 7;
        const WINDOWS: u64 = 20_000;
        let mut counts = [[0.0_f64; LEN]; LEN];
        for window in 0..WINDOWS {
            let mut values: Vec<usize> = (0..LEN).collect();
            mix(&mut values, window / 100, window % 100);
            values.iter().enumerate().for_each(|(place, &value)| counts[value][place] += 1.0);
        }
        let expected = WINDOWS as f64 / LEN as f64;
        let statistic: f64 = counts.as_flattened().iter().map(|count| (count - expected).powi(2) / expected).sum();
        let freedom = ((LEN - 1) * (LEN - 1)) as f64;
        let deviations = (statistic - freedom) / (2.0 * freedom).sqrt();
        assert!(deviations.abs() < 6.0, "{deviations} deviations");
    }
}
