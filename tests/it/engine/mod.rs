//! The library on a device: buffers and programs, selection, training, checkpoints.

pub mod annealing;
pub mod apply;
pub mod checkpoints;
pub mod gpu;
pub mod halved_chunks;
pub mod logits;
pub mod neighbors;
pub mod order;
pub mod owners;
pub mod redo;
pub mod rerun;
pub mod rescue;
pub mod run;
pub mod screening;
pub mod selection;
pub mod slabs;
pub mod subgroups;
pub mod training;
pub mod translation;
pub mod variable_codes;
