//! Activations in Arrow's formats: files of record batches, whose values are read by position, and streams of them.
//!
//! Only the headers of messages are decoded; no array is.

mod dataset;
#[cfg(test)]
pub(super) mod fixtures;
mod index;
mod input;
mod layout;
mod message;
mod messages;
mod schema;
mod selection;
mod stream;

pub(super) use dataset::ArrowReader;
pub(super) use stream::{ArrowStream, Chunk};
