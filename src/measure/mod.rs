//! Measuring: what a run will need, what a device can do, and which kernels are the fastest there.

mod autotune;
mod benchmark;
mod ceilings;
mod forecast;
mod plan;

pub use autotune::{autotune, autotune_pays};
pub use benchmark::{StepBenchmark, Timed, median, synthetic_rows};
pub use ceilings::{CeilingKernels, Ceilings};
pub use forecast::Forecast;
pub use plan::{Plan, Work, check_fits, most_features, work};
