//! monosem trains sparse autoencoders (SAEs) on the activations of language models: hand-written WGSL kernels, a thin
//! scheduler over them, and any Vulkan, Metal or DX12 adapter to run on.
//!
//! `gpu` talks to the device, `kernels` are the operations, `reference` the same operations on the CPU in f64,
//! `sae` is the model, `train` the scheduler, `checkpoint` what it leaves to go on from, and `data` where activations come from.
#![warn(missing_docs)]

pub mod checkpoint;
pub mod data;
pub mod engine;
pub mod error;
pub mod gpu;
pub mod kernels;
pub mod reference;
pub mod rng;
pub mod sae;
pub mod selftest;
mod staging;
pub mod train;

pub use error::{Error, Result};
