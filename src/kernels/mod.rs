//! The operations on the device: which workgroups each takes (`launch`), and a file for those with more to say, variants or
//! several passes. What a kernel reads and writes is the shader's own list of bindings ([`crate::gpu::shaders`]).

mod certify;
mod encode;
mod halve;
mod launch;
mod probe;
mod rescore;
mod screen;
mod select;
mod selection;
mod sort;
mod tuning;

pub use certify::Certify;
pub use encode::{Encode, EncodeArguments, EncodeVariant, GroupMaxima, GroupMaximaArguments, TileShape};
pub use halve::Halve;
pub use rescore::Rescore;
pub use screen::{SCREEN_GROUP, Screen, ScreenArguments, ScreenBlock, ScreenVariant, half_quads, margin};
pub use select::Select;
pub use selection::{
    SCRATCH_BYTES, Screening, ScreeningKernels, Selection, SelectionKernels, SelectionMethod, SelectionShape,
};
pub use sort::{Sort, Sorted};
pub use tuning::Tuning;

use crate::gpu::EntryPoint;

/// A row of `d` values is stored in this many vectors of 4: `d` is padded to a multiple of 16 with zeros, which no sum feels.
pub fn quads(d: usize) -> u32 {
    d.div_ceil(16) as u32 * 4
}

/// Workgroups of `K` for `invocations` one-dimensional invocations.
fn groups_for<K: EntryPoint>(invocations: u64) -> [u32; 3] {
    crate::gpu::grid(invocations.div_ceil(u64::from(K::WORKGROUP[0])))
}
