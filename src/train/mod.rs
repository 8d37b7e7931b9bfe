//! Training: where an SAE starts, and the loop that takes it further. It knows neither files nor terminals: what
//! happens is told in [`Progress`].

mod features;
mod geometric_median;
mod initialize;
mod profile;
mod screening;
mod trainer;
mod validation;

pub use crate::engine::parameters::DeviceWeights;
pub use crate::engine::recipe::{DEAD_WINDOW, KAnnealing, MomentPrecision, Recipe, Schedule};
pub use crate::engine::state::{StateSink, StateSource, Tile};
pub use features::FeatureStatistics;
pub use geometric_median::geometric_median;
pub use initialize::{BiasStart, EncoderStart, InitialWeights, Initialization, SparsityStart, initialize};
pub use profile::Profile;
pub use trainer::{Progress, Trainer, train};
pub use validation::Validation;
