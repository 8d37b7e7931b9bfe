//! Where activations come from: files read by position, rows left out, a seeded order, batches prefetched on a thread.

mod activations;
#[cfg(feature = "arrow")]
mod arrow;
mod bad_row;
mod batches;
mod description;
mod filtered_rows;
mod foreign;
mod formats;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod integers;
mod listing;
mod norm_cache;
mod npy;
mod order;
#[cfg(feature = "parquet")]
mod parquet;
mod provenance;
mod reader;
mod rewrite;
mod row_integers;
mod row_labels;
mod row_numbers;
mod row_statistics;
mod row_values;
mod safetensors;
mod shuffle;
mod sources;
mod spares;
mod statistics;
#[cfg(feature = "arrow")]
mod stream;
mod training_rows;
mod unusual_rows;
mod windows;

pub use activations::Activations;
pub(crate) use bad_row::blame_row;
pub use batches::{Batch, Batches, Stretch};
pub use description::{ColumnDescription, DataDescription};
pub use filtered_rows::{Exclusion, FilteredRows, RowFilter};
pub use identity::{FileIdentity, first_difference};
pub use order::{OrderChoice, RowKind, RowOrder};
pub use provenance::Provenance;
#[cfg(feature = "arrow")]
pub use rewrite::write_converted_stream;
pub use rewrite::{
    Conversion, ConvertOptions, ShuffleEnd, ShuffleOptions, ShuffleProgress, ShuffleResult, write_converted,
    write_shuffled,
};
pub use row_integers::RowIntegers;
pub use row_labels::{RowLabel, RowLabels};
pub use row_numbers::RowNumbers;
pub use row_statistics::RowStatistics;
pub use row_values::{RowValues, RowsView};
pub use shuffle::Permutation;
pub use sources::Sources;
pub use statistics::{DataStatistics, DataSurvey, OutlierDimension, OutlierRow};
#[cfg(feature = "arrow")]
pub use stream::{RowStream, StreamFilter};
pub use training_rows::TrainingRows;

pub use crate::storage::Dtype;
