//! monosem trains sparse autoencoders (SAEs) on the activations of language models: hand-written WGSL kernels, a thin
//! scheduler over them, and any Vulkan, Metal or DX12 adapter to run on.
//!
//! `gpu` talks to the device, `kernels` are the operations, `reference` the same operations on the CPU in f64,
//! `sae` is the model, `train` the scheduler, `run` a training run with its directory and checkpoints, and `data` where
//! activations come from.

pub mod adapters;
pub mod apply;
pub mod data;
pub mod engine;
pub mod error;
pub mod gpu;
pub mod kernels;
pub mod measure;
pub mod reference;
pub mod rng;
pub mod run;
pub mod sae;
pub mod selftest;
pub mod storage;
pub mod train;

pub use error::{Divergence, Error, Result};
