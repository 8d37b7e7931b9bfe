//! Measuring: what a run will need, what a device can do, and which kernels are the fastest there.

mod profile;

pub use profile::Profile;
