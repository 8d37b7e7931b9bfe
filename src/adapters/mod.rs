//! Which device is taken: from the adapters that a graphics API shows, the user's choice, and what else the machine
//! says of its GPUs. Nothing here calls a graphics API.

mod bounds_checks;
mod choice;
mod cuda;
mod description;
mod diagnose;
mod environment;
mod memory;

pub use bounds_checks::BoundsChecks;
pub use choice::{AdapterChoice, ChosenAdapter, Ranking, choose, rank};
pub use description::AdapterDescription;
pub use environment::{DeviceNode, Environment, NvidiaGpu, VARIABLES};
pub use memory::DeviceMemory;
pub(crate) use memory::host_memory;
