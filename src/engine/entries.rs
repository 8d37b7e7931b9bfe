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
    /// `[capacity]` `vec4<u32>`: list 0, then list 1 if there is one.
    pub list: Buffer,
    /// Where each row's entries of each list begin in `list`, `[rows + 1]`: counted by the device, unless each row has
    /// as many.
    pub starts: Vec<Buffer>,
    /// [`Counts`](crate::gpu::shaders::Counts): the number of entries of each list, and of all that there should be
    /// where list 0 is full.
    pub counts: Buffer,
    /// Entries of the main list per row, if each has as many: the most that there is room for.
    pub per_row: Option<u32>,
    /// Where list 1 begins: the capacity of list 0.
    pub second: u32,
    /// Entries of all lists.
    pub capacity: u32,
}

/// The most rows whose number an entry holds.
const MAX_ROWS: usize = 1 << 24;

/// The most entries of a list whose length nothing else bounds, unless another number is asked for: with the terms that
/// are made of them 128 MiB.
const USUAL_CAPACITY: u64 = 1 << 22;

/// The share of all rows x features above which a step is as fast without a list
/// (benches/results/2026-11-29-slabs.md): twice that of a usual start.
const LISTED_SHARE: u64 = 8;

/// So few entries are listed whatever their share is.
const FEW_ENTRIES: u64 = 1 << 16;

/// Far below 2^32, so that a list and the chunk that it has no room for can be counted together.
const MAX_CAPACITY: u64 = 1 << 31;

/// Bytes of an entry.
const ENTRY_BYTES: u64 = 16;

impl Entries {
    /// Room for the lists of `rows` rows, or for the main list alone. Where each row has as many entries, the main list
    /// is that of a full batch until something else is counted.
    ///
    /// # Errors
    /// [`Error::Config`] if that is too much for a binding, [`Error::OutOfMemory`] if it does not fit.
    pub fn new(gpu: &Gpu, description: &Description, features: u32, rows: usize, pass: Pass) -> Result<Self> {
        let gpu = &gpu.for_part("codes");
        let lists = match pass {
            Pass::Training => &description.lists[..],
            Pass::Evaluation => &description.lists[..1],
        };
        let room = Room { rows: rows as u64, features: features.into(), pass, most_bytes: gpu.max_binding_bytes() };
        let capacities: Option<Vec<u64>> = lists.iter().map(|list| room.capacity(list)).collect();
        let all = capacities.as_ref().map(|capacities| capacities.iter().sum::<u64>());
        let (Some(capacities), true) = (capacities, all.is_some_and(|all| all <= MAX_CAPACITY) && rows < MAX_ROWS)
        else {
            return Err(Error::Config(format!(
                "the lists of a batch of {rows} rows would have {} entries: at most 2^24 rows and 2^31 entries can be \
                 counted",
                all.map_or("too many".to_owned(), |all| all.to_string())
            )));
        };
        let (second, capacity) = (capacities[0] as u32, capacities.iter().sum::<u64>() as u32);
        let starts = |_: &u64| gpu.buffer("starts of rows", rows as u64 + 1);
        let mut starts: Vec<Buffer> = capacities.iter().map(starts).collect::<Result<_>>()?;
        let per_row = match lists[0].keep {
            Keep::PerRow { k } => Some(k as u32),
            _ => None,
        };
        if let Some(k) = per_row {
            starts[0] = gpu.buffer_from("starts of rows", &starts_of_rows(rows as u32, k))?;
        }
        Ok(Self {
            list: gpu.buffer("entries", 4 * u64::from(capacity))?,
            starts,
            counts: gpu.buffer_from("counts of entries", &[per_row.map_or(0, |_| second), 0, 0, 0])?,
            per_row,
            second,
            capacity,
        })
    }
}

impl Entries {
    /// From what is submitted next on, each of `rows` rows has `k` entries in the main list, if each has as many.
    pub fn set_per_row(&self, gpu: &Gpu, rows: u32, k: u32) {
        if self.per_row.is_some() {
            gpu.upload(&self.starts[0], 0, &starts_of_rows(rows, k));
            gpu.upload(&self.counts, 0, &[rows * k]);
        }
    }
}

/// Where rows of `k` entries each begin.
fn starts_of_rows(rows: u32, k: u32) -> Vec<u32> {
    (0..=rows).map(|row| row * k).collect()
}

/// What the capacity of a list depends on.
struct Room {
    rows: u64,
    features: u64,
    pass: Pass,
    /// Of a binding.
    most_bytes: u64,
}

impl Room {
    /// The most entries of a list; none if they cannot be counted.
    fn capacity(&self, list: &ListSpec) -> Option<u64> {
        let &Self { rows, features, pass, most_bytes } = self;
        match list.keep {
            Keep::PerRow { k } => rows.checked_mul(k as u64),
            Keep::Dead { most, .. } => rows.checked_mul(most as u64),
            // Twice as many, while they are being selected.
            Keep::PerBatch { per_row } => rows.checked_mul(per_row as u64)?.checked_mul(2),
            Keep::Admitted { capacity } => {
                let most = rows.checked_mul(features)?;
                Some(match pass {
                    Pass::Training => {
                        let share = (most / LISTED_SHARE).max(FEW_ENTRIES);
                        let term_bytes = ENTRY_BYTES * u64::from(1 + list.entry.extras());
                        capacity.unwrap_or(share.min(USUAL_CAPACITY)).clamp(1, most).min(most_bytes / term_bytes)
                    }
                    // A batch that does not fit is taken by parts, down to one row.
                    Pass::Evaluation => most.min(USUAL_CAPACITY).max(features).min(most_bytes / ENTRY_BYTES),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::description::EntryKind;

    #[test]
    fn capacities_follow_what_is_kept() {
        let room = |pass| Room { rows: 100, features: 1 << 20, pass, most_bytes: 128 << 20 };
        let capacity = |keep, pass| room(pass).capacity(&ListSpec { keep, entry: EntryKind::TopK });
        let (training, evaluation) = (Pass::Training, Pass::Evaluation);
        assert_eq!(capacity(Keep::PerRow { k: 7 }, training), Some(700));
        assert_eq!(capacity(Keep::PerBatch { per_row: 7 }, training), Some(1400));
        assert_eq!(capacity(Keep::Admitted { capacity: None }, training), Some(1 << 22));
        assert_eq!(capacity(Keep::Admitted { capacity: Some(1000) }, training), Some(1000));
        // As far as a binding holds what is made of it.
        assert_eq!(capacity(Keep::Admitted { capacity: Some(u64::MAX) }, training), Some(8 << 20));
        let relu = ListSpec {
            keep: Keep::Admitted { capacity: None },
            entry: EntryKind::Relu { sparsity: 1.0, normed: true },
        };
        let long = ListSpec { keep: Keep::Admitted { capacity: Some(u64::MAX) }, ..relu };
        assert_eq!(room(training).capacity(&long), Some(4 << 20));
        // Beyond an eighth of all, a list is of no use; where there are few at all, it always is.
        let sized = |rows, features| Room { rows, features, ..room(training) }.capacity(&relu);
        assert_eq!([sized(1024, 4096), sized(64, 2048), sized(8, 256)], [Some(1 << 19), Some(1 << 16), Some(1 << 11)]);
        assert_eq!(capacity(Keep::Admitted { capacity: Some(1000) }, evaluation), Some(1 << 22));
        let wide = Room { features: 1 << 23, ..room(evaluation) };
        let few = Room { rows: 3, features: 10, ..room(evaluation) };
        let list = ListSpec { keep: Keep::Admitted { capacity: None }, entry: EntryKind::TopK };
        // A row of all features fits, as far as the binding holds it.
        assert_eq!([wide, few].map(|room| room.capacity(&list)), [Some(1 << 23), Some(30)]);
    }
}
