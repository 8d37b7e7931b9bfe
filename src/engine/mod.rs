//! A training step on the device, in parts.

pub mod select;
