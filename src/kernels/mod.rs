//! The operations on the device: which workgroups each takes (`launch`), and a file for those with more to say,
//! variants or several passes. What a kernel reads and writes is the shader's own list of bindings
//! ([`crate::gpu::shaders`]).

mod check_bounds;
mod encode;
mod launch;
pub(crate) mod probe;
mod radix;
mod rescore;
mod screen;
mod select;
mod shapes;
mod sort;
mod tile_order;
mod to_f16;

pub use check_bounds::CheckBounds;
pub use encode::{Encode, EncodeVariant, GroupMaxima, Staging};
pub use rescore::{CandidateOrder, Rescore, RescoreVariant};
pub use screen::{SCREEN_GROUP, Screen, ScreenBlock, ScreenVariant, half_quads, margin};
pub use select::Select;
pub use shapes::{SlopesVariant, SumShape};
pub use sort::{Sort, Sorted};
pub use to_f16::ToF16;

use crate::gpu::EntryPoint;

/// A row of `d` values is stored in this many vectors of 4: `d` is padded to a multiple of 16 with zeros, which no sum
/// feels.
pub fn quads(d: usize) -> u32 {
    d.div_ceil(16) as u32 * 4
}

/// Workgroups of `K` for `invocations` one-dimensional invocations.
fn groups_for<K: EntryPoint>(invocations: u64) -> [u32; 3] {
    crate::gpu::grid(invocations.div_ceil(u64::from(K::WORKGROUP[0])))
}
