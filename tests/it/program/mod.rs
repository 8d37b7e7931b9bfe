//! The program, end to end.

pub mod architectures;
pub mod auxk;
pub mod bad_input;
pub mod bench;
mod bounds_checks;
pub mod cli;
pub mod data_convert;
pub mod data_info;
pub mod data_shuffle;
pub mod decoder_rows;
pub mod devices;
pub mod encode;
pub mod eval;
pub mod export;
pub mod features;
pub mod help;
pub mod inputs;
#[cfg(unix)]
pub mod killed;
pub mod label;
pub mod memory;
pub mod neuronpedia;
pub mod normalization;
pub mod options;
pub mod plan;
#[cfg(feature = "plot")]
mod plot;
pub mod report;
pub mod rescue;
pub mod resume;
pub mod rows;
pub mod selftest;
pub mod settings;
pub mod slabs;
pub mod stream;
pub mod tensorboard;
pub mod terminal;
pub mod train;
pub mod tuning;
