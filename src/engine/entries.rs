//! The lists of a batch: entries, each of a row and a feature.

use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu};
use crate::sae::description::{Description, Keep, ListSpec};

/// The purpose of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Gradients.
    Training,
    /// Codes, and statistics of each row's reconstruction.
    Evaluation,
}

/// Room for the lists of a batch. An entry is (feature, place, bits of u, bits of the key); its place holds its row,
/// its list and its flags (shaders/shared/entry_list.wgsl).
pub struct Entries {
    /// `[capacity]` vec4<u32>: list 0, then list 1 if there is one.
    pub list: Buffer,
    /// Where each row's entries of each list begin in `list`, `[rows + 1]`.
    pub starts: Vec<Buffer>,
    /// The number of entries of each list.
    pub counts: Buffer,
    /// Entries of the main list per row.
    pub k: u32,
    /// Where list 1 begins.
    pub second: u32,
    /// Entries of all lists.
    pub capacity: u32,
}

/// The most rows whose number an entry holds.
const MAX_ROWS: usize = 1 << 24;

impl Entries {
    /// Room for the lists of `rows` rows, or for the main list alone, which is that of a full batch until something
    /// else is counted.
    ///
    /// # Errors
    /// [`Error::Config`] if that is too much for a binding, [`Error::OutOfMemory`] if it does not fit.
    pub fn new(gpu: &Gpu, description: &Description, rows: usize, pass: Pass) -> Result<Self> {
        let gpu = &gpu.for_part("codes");
        let most = |list: &ListSpec| match list.keep {
            Keep::PerRow { k } => Ok(k),
            Keep::Dead { most, .. } => Ok(most),
            Keep::PerBatch { .. } | Keep::Admitted { .. } => {
                Err(Error::Config("this architecture cannot be computed yet: take a TopK SAE".into()))
            }
        };
        let lists = match pass {
            Pass::Training => &description.lists[..],
            Pass::Evaluation => &description.lists[..1],
        };
        let per_row: Vec<usize> = lists.iter().map(most).collect::<Result<_>>()?;
        let capacity = per_row.iter().sum::<usize>().checked_mul(rows).and_then(|all| u32::try_from(all).ok());
        let capacity = capacity.filter(|_| rows < MAX_ROWS).ok_or_else(|| {
            Error::Config(format!(
                "a batch of {rows} rows with {} entries per row: at most 2^24 rows and 2^32 entries can be counted",
                per_row.iter().sum::<usize>()
            ))
        })?;
        let k = per_row[0] as u32;
        let second = k * rows as u32;
        let main_starts: Vec<u32> = (0..=rows as u32).map(|row| row * k).collect();
        let mut starts = vec![gpu.buffer_from("starts of rows", &main_starts)?];
        for _ in 1..per_row.len() {
            starts.push(gpu.buffer("starts of rows", rows as u64 + 1)?);
        }
        Ok(Self {
            list: gpu.buffer("entries", 4 * u64::from(capacity))?,
            starts,
            counts: gpu.buffer_from("counts of entries", &[second, 0, 0, 0])?,
            k,
            second,
            capacity,
        })
    }
}
