//! Where activations come from: files read by position, rows left out, a seeded order, batches prefetched on a thread.

mod activations;
mod batches;
#[cfg(test)]
pub(crate) mod fixtures;
mod moments;
mod provenance;
pub(crate) mod safetensors;
mod selection;
mod shuffle;
mod sources;
mod tensor_writer;

pub use activations::Activations;
pub use batches::{Batch, Batches};
pub use moments::Moments;
pub use provenance::Provenance;
pub use selection::{Exclusion, RowFilter, Selection};
pub use shuffle::Permutation;
pub use sources::Sources;
pub use tensor_writer::TensorWriter;
