//! The device: the only code that calls wgpu. It knows nothing of SAEs.
//!
//! Work is described first and run later: kernels push dispatches on a [`Recording`], [`Gpu::program`] turns it into
//! bind groups once, and [`Gpu::submit`] runs the program any number of times.

mod account;
mod adapter;
mod allocation;
mod arrivals;
mod buffer;
mod compile;
mod device;
mod handle;
#[cfg(test)]
mod import;
mod limits;
#[cfg(test)]
mod lint;
mod operation;
mod pace;
mod pipeline;
mod program;
mod readback;
mod recording;
mod staging;
mod submission;
#[doc(hidden)]
pub mod template;
mod timed;
mod timing;
mod unchecked;
mod upload;

pub use crate::adapters::{AdapterChoice, AdapterDescription};
#[doc(hidden)]
pub use account::Made;
pub use adapter::adapters;
pub use buffer::{Buffer, Slot};
pub use device::Gpu;
pub(crate) use pace::LONGEST_SUBMISSION;
pub use pipeline::{Entry, Pipeline, Source};
pub use program::{Program, UNIFORM_STRIDE};
pub use readback::{Pending, Results};
pub use recording::{Bind, Binding, BindingKind, EntryPoint, Launch, LayoutEntry, Recording};
pub use submission::Pause;
pub use timing::{Span, Timing};
pub use upload::UploadBuffers;

/// The Rust side of every shader, written by the build script from the WGSL.
#[doc(hidden)]
#[allow(clippy::needless_lifetimes, unused_imports, reason = "generated: an entry point may bind no buffer")]
pub mod shaders {
    use super::{Bind, Binding, BindingKind, Buffer, Entry, EntryPoint, LayoutEntry, Slot, Source};

    include!(concat!(env!("OUT_DIR"), "/shaders.rs"));
}

/// A dispatch of at least `groups` workgroups, in two dimensions if they are more than [`shaders::gate::GRID_WIDTH`].
/// Shaders undo it with `group_index` (shaders/shared/grid.wgsl) and ignore what is past the end.
pub fn grid(groups: u64) -> [u32; 3] {
    let width = u64::from(shaders::gate::GRID_WIDTH);
    match groups {
        0..=1 => [1, 1, 1],
        _ if groups <= width => [groups as u32, 1, 1],
        _ => [width as u32, groups.div_ceil(width) as u32, 1],
    }
}
