//! The flags that several subcommands share, by group.

mod apply;
mod checkpoints;
mod data;
mod device;
mod list;
mod metadata;
mod model;
mod settings;
mod training;

pub use apply::{Application, ApplyArguments, open_sae};
pub use data::RowArguments;
pub use device::{DeviceArguments, ScreeningArguments, TuningArguments};
pub use model::ModelArguments;
pub use settings::Settings;
pub use training::Moments;
