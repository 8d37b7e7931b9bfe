//! monosem trains sparse autoencoders (SAEs) on the activations of language models: hand-written WGSL kernels, a thin
//! scheduler over them, and any Vulkan, Metal or DX12 adapter to run on.
//!
//! `gpu` talks to the device, `kernels` are the operations, `reference` the same operations on the CPU in f64,
//! `sae` is the model, `train` the scheduler, `run` a training run with its directory and checkpoints, and `data` where
//! activations come from.

#[doc(hidden)]
pub mod adapters;
pub mod apply;
pub mod data;
#[doc(hidden)]
pub mod engine;
pub mod error;
pub mod gpu;
#[doc(hidden)]
pub mod kernels;
#[doc(hidden)]
pub mod measure;
#[doc(hidden)]
pub mod reference;
#[doc(hidden)]
pub mod rng;
pub mod run;
pub mod sae;
#[doc(hidden)]
pub mod selftest;
#[doc(hidden)]
pub mod storage;
pub mod train;

pub use error::{Divergence, Error, Result};
