//! Measuring: what a run will need, what a device can do, and which kernels are the fastest there.

mod benchmark;
mod ceilings;
mod plan;
mod profile;

pub use benchmark::{StepBenchmark, median, synthetic_rows};
pub use ceilings::{CeilingKernels, Ceilings};
pub use plan::{Forecast, Plan, Work, check_fits, most_features, work};
pub use profile::Profile;

pub fn autotune(_gpu: &crate::gpu::Gpu, config: &crate::sae::SaeConfig, recipe: &crate::train::Recipe, screening: crate::kernels::Screening) -> crate::Result<crate::kernels::Tuning> { Ok(crate::engine::select::usual_tuning(config, _gpu.description(), recipe.batch, screening)) }
pub fn autotune_pays(_a: &crate::gpu::AdapterDescription, _c: &crate::sae::SaeConfig, _r: &crate::train::Recipe) -> bool { false }
