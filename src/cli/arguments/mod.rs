//! The flags that several subcommands share, by group.

mod apply;
mod checkpoints;
mod data;
mod device;
mod initialization;
mod metadata;
mod model;
mod normalization;
mod number;
mod order;
mod penalty;
mod resolved;
mod schedule;
mod settings;
mod size;
mod training;
mod unembedding;
mod validation;

pub use apply::{Application, ApplyArguments, open_sae};
pub use data::{RowArguments, is_stream, open_files};
pub use device::{DeviceArguments, ScreeningArguments, TuningArguments};
pub use initialization::DrawnArguments;
pub use model::ModelArguments;
pub use number::{Choice, count, count_or_zero, unless};
pub use resolved::Resolved;
pub use settings::Settings;
pub use size::Size;
pub use training::Moments;
pub use unembedding::{ModelEnd, UnembeddingArguments};
