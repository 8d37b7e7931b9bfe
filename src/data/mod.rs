//! Where activations come from: files read by position, a seeded order, batches prefetched on a thread.

mod activations;
mod batches;
#[cfg(test)]
pub(crate) mod fixtures;
mod moments;
mod provenance;
pub(crate) mod safetensors;
mod shuffle;

pub use activations::Activations;
pub use batches::{Batch, Batches};
pub use moments::Moments;
pub use provenance::Provenance;
pub use shuffle::Permutation;
