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
// Stands in for src/selftest/mod.rs, which is being rewritten.
#[allow(missing_docs, dead_code)]
pub mod selftest {
    mod check;
    pub mod step;
    mod tensors {
        pub fn random(seed: u64, count: usize) -> Vec<f32> {
            let rng = crate::rng::Rng::new(seed, crate::rng::Purpose::Weights);
            let words = (0..count.div_ceil(4) as u64).flat_map(|at| rng.block(at, 0)).take(count);
            words.map(crate::rng::symmetric).collect()
        }
        pub fn f64s(values: &[f32]) -> Vec<f64> {
            values.iter().map(|value| f64::from(*value)).collect()
        }
        pub fn f32s(values: &[f64]) -> Vec<f32> {
            values.iter().map(|value| *value as f32).collect()
        }
        pub fn stored(d: usize) -> usize {
            crate::kernels::quads(d) as usize * 4
        }
    }
}
pub mod storage;
pub mod train;

pub use error::{Divergence, Error, Result};
