//! Where activations come from: files read by position, rows left out, a seeded order, batches prefetched on a thread.

mod activations;
// Opened by the formats' recognition.
#[cfg(feature = "arrow")]
#[allow(dead_code, unused_imports)]
mod arrow;
mod bad_row;
mod batches;
mod filtered_rows;
mod foreign;
mod identity;
mod integers;
mod listing;
mod norm_cache;
// Opened by the formats' recognition.
#[allow(dead_code)]
mod npy;
mod provenance;
mod reader;
mod row_labels;
mod row_statistics;
mod row_values;
mod safetensors;
mod shuffle;
mod sources;

pub use activations::Activations;
pub(crate) use bad_row::blame_row;
pub(crate) use batches::shuffled_row;
pub use batches::{Batch, Batches};
pub use filtered_rows::{Exclusion, FilteredRows, RowFilter};
pub use identity::{FileIdentity, first_difference};
pub use provenance::Provenance;
pub use row_labels::{RowLabel, RowLabels};
pub use row_statistics::RowStatistics;
pub use row_values::{RowValues, RowsView};
pub use shuffle::Permutation;
pub use sources::Sources;

pub use crate::storage::Dtype;
