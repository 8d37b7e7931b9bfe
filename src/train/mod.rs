//! The scheduler: a step as a list of kernels, the recipe it follows, and the loops that run it. It knows neither files
//! nor terminals: what happens is told in [`Progress`].

mod autotune;
mod backward;
mod benchmark;
mod evaluate;
mod forward;
mod geometric_median;
mod initialize;
mod optimizer;
mod plan;
mod profile;
mod recipe;
mod state;
mod step;
mod trainer;

pub use autotune::{autotune, autotune_pays};
pub use benchmark::{StepBenchmark, median, synthetic_rows};
pub use evaluate::{Encoder, Evaluation, Evaluator, HostCodes, Reconstruction, evaluate};
pub use forward::Forward;
pub use geometric_median::geometric_median;
pub use initialize::{InitialWeights, initialize};
pub use plan::{Forecast, Plan, Work, check_fits, most_features, work};
pub use profile::Profile;
pub use recipe::{DEAD_WINDOW, MomentPrecision, Recipe};
pub use state::{StateSink, StateSource, StateTensor, Tile, state_tensors};
pub use step::{StepResults, TrainingStep};
pub use trainer::{Progress, Trainer, train};
