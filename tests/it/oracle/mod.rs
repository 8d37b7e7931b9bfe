//! The reference against finite differences and other implementations, and the library against the reference.

pub mod device;
pub mod directories;
pub mod finite_differences;
pub mod golden;
pub mod reference;
pub mod straight_through;
pub mod vectors;
