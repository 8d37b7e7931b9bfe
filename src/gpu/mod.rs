//! The device: the only code that calls wgpu. It knows nothing of SAEs.
//!
//! Work is described first and run later: kernels push dispatches on a [`Recording`], [`Gpu::program`] turns it into
//! bind groups once, and [`Gpu::submit`] runs the program any number of times.

mod adapter;
mod buffer;
mod choice;
mod cuda;
mod environment;
mod memory;
mod missing;
mod pace;
mod pipeline;
mod program;
mod readback;
mod recording;
mod submission;
pub mod template;
mod timing;

pub use adapter::{AdapterDescription, Gpu, adapters};
pub use buffer::Buffer;
pub use choice::{AdapterChoice, Ranking, Selection, choose, rank};
pub use environment::{DeviceNode, Environment, NvidiaGpu, VARIABLES};
pub use memory::DeviceMemory;
pub use pipeline::{Pipeline, Source};
pub use program::Program;
pub use readback::Pending;
pub use recording::{Bind, Binding, EntryPoint, Recording};
pub use submission::Pause;
pub use timing::{Span, Timing};

/// The Rust side of every shader, written by the build script from the WGSL.
#[allow(clippy::needless_lifetimes, reason = "generated: an entry point may bind no buffer")]
pub mod shaders {
    use super::{Bind, Binding, Buffer, EntryPoint, Source};

    include!(concat!(env!("OUT_DIR"), "/shaders.rs"));
}

/// The most workgroups that one dimension of a dispatch may have on every adapter.
const MAX_GROUPS: u32 = 65_535;

/// A dispatch of at least `groups` workgroups, in two dimensions where one cannot hold them. Shaders undo it with
/// `workgroup_index` (shaders/shared/grid.wgsl) and ignore what is past the end.
pub fn grid(groups: u64) -> [u32; 3] {
    let rows = groups.div_ceil(u64::from(MAX_GROUPS)).max(1);
    let columns = groups.div_ceil(rows).max(1);
    [columns as u32, rows as u32, 1]
}
