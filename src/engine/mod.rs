//! A training step on the device: what an architecture's description says, as buffers, kernels and their order.
//!
//! `parameters` and `planes` hold the model, `entries` the lists of a batch, `select` finds them, `field` decodes them,
//! `backward` and `apply` train on them, `slab` does without lists (`path` says when); `variance` is that of the batch,
//! `threshold` what its selection ended at; `step` is the one place that reads as the step.

pub mod apply;
pub mod backward;
mod closed;
pub mod dead;
pub mod entries;
pub mod entry;
pub mod field;
pub mod forward;
pub mod hot;
pub mod parameters;
pub mod path;
pub mod planes;
pub mod recipe;
mod rows;
pub mod select;
pub mod slab;
pub mod stage;
pub mod state;
pub mod step;
pub mod threshold;
pub mod variance;

/// The mark of the rules that sums follow (docs/architecture.md): results of other rules differ in their last bits.
pub const RULES: &str = "2";
