//! What a model's features respond to.

pub mod report;
