//! Where activations come from: files read by position, rows left out, a seeded order, batches prefetched on a thread.

mod activations;
mod batches;
mod moments;
mod provenance;
mod selection;
mod shuffle;
mod sources;

pub use activations::Activations;
pub use batches::{Batch, Batches};
pub use moments::Moments;
pub use provenance::Provenance;
pub use selection::{Exclusion, RowFilter, Selection};
pub use shuffle::Permutation;
pub use sources::Sources;
