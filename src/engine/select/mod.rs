//! Finding the entries of a batch's main list without holding all keys (docs/selection.md).

mod admitted;
mod annealed;
mod batch;
mod chunked;
mod chunks;
mod encoded;
mod grouped;
mod groups;
mod growing;
mod policy;
mod rerun;
mod screened;
mod tuning;

pub(super) use chunks::{Chunk, Chunks, Limits, RowBlock, SCRATCH_BYTES, max_multiply_adds};
pub(super) use encoded::Encoded;
pub use policy::{Screening, SelectionMethod, SelectionShape};
pub use tuning::Tuning;

use admitted::Admitted;
use annealed::Annealed;
use batch::Batch;
use chunked::Chunked;
use grouped::Grouped;
use screened::Screened;

use super::entries::{Entries, Pass};
use super::parameters::Parameters;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::sae::description::{Keep, KeyScale};

/// A method of selection: its kernels and its scratch memory.
pub trait Selector: Send + Sync {
    /// Records the selection of the main list.
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>);

    /// The method.
    fn method(&self) -> SelectionMethod;

    /// Begins with the number of rows that screening did not prove exact: those were selected again in f32.
    fn uncertain(&self) -> &Buffer;

    /// From what is submitted next on, also selects the rows of this range again, and compares: the guard is raised
    /// where screening found others. Without screening there is nothing to compare.
    fn audit(&self, _gpu: &Gpu, _rows: std::ops::Range<u32>) {}

    /// What encodes a chunk at a time, where the SAE decides how many features are active.
    fn encoded(&self) -> Option<&Encoded> {
        None
    }

    /// The least key that was kept, where keys of a whole batch are compared: `[1]`, read by [`least_key`].
    fn least_kept(&self) -> Option<&Buffer> {
        None
    }
}

/// The least key that was kept, all of which are above 0, from what [`Selector::least_kept`] holds; none if nothing
/// was. It is the K-th largest of the batch, or, where fewer than K are above 0, the least of those.
pub fn least_key(word: u32) -> Option<f32> {
    // The complement of its order (shaders/shared/order.wgsl).
    (word != 0).then(|| f32::from_bits(!word & 0x7fff_ffff))
}

/// Operands of a selection.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The encoder.
    pub parameters: &'a Parameters,
    /// Rows to encode, `[rows, quads]` vec4.
    pub centred: &'a Buffer,
    /// Receives the codes, as list 0.
    pub entries: &'a Entries,
    /// Raised if they do not fit.
    pub guard: &'a Buffer,
    /// Number of rows.
    pub rows: u32,
    /// Active features per row, of each or on average, where that is fixed.
    pub k: u32,
    /// How far screening is gone by.
    pub screen: ScreenMode,
    /// How many times chunks are halved. No result depends on it.
    pub halvings: u32,
}

/// How a screened selection goes about it. Its codes are the same in every mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScreenMode {
    /// It scores its usual number of groups. A batch with more uncertain rows than there is room for is selected by
    /// chunks at once, for which dispatches are ready that mostly do nothing.
    #[default]
    Complete,
    /// The guard is raised for such a batch, whose step is then taken again.
    Optimistic {
        /// Groups per row that are scored, as far as there is room.
        groups: u32,
    },
    /// It selects by chunks.
    Off,
}

impl<'a> Inputs<'a> {
    /// The chunks that are worked on, where there is room for these.
    fn chunks(&self, largest: Chunks) -> impl Iterator<Item = Chunk<'a>> {
        largest.halved(self.parameters, self.halvings).of(self.parameters)
    }

    /// 1 if keys are pre-activations times decoder norms, else 0.
    fn scaled(&self) -> u32 {
        u32::from(self.parameters.description().key == KeyScale::DecoderNorm)
    }
}

/// Makes the selector of a tuning for at most `rows` rows, and for any k from the SAE's to that which the entries have
/// room for.
///
/// # Errors
/// [`Error::Shader`] naming the kernel that the device refuses, [`Error::Device`] if it encodes wrongly, and those of
/// [`Gpu::buffer`].
pub fn selector(
    gpu: &Gpu,
    parameters: &Parameters,
    entries: &Entries,
    rows: u32,
    tuning: Tuning,
    pass: Pass,
) -> Result<Box<dyn Selector>> {
    let k = parameters.config().usual_l0() as u32;
    let fixed = selector_of_k(gpu, parameters, entries, rows, tuning, pass)?;
    match entries.per_row {
        Some(most) if most > k => {
            let falling = Chunked::new(gpu, parameters, [rows, most], tuning.encode)?;
            Ok(Box::new(Annealed { falling, fixed, k }))
        }
        _ => Ok(fixed),
    }
}

/// Makes the selector of a tuning. Where the driver does not compute what the method relies on,
/// which is tried with random rows, chunks take its place ([`Selector::method`]), as they do where rows do not keep as
/// many entries each.
///
/// # Errors
/// [`Error::Shader`] naming the kernel that the device refuses, [`Error::Device`] if it encodes wrongly, and those of
/// [`Gpu::buffer`].
fn selector_of_k(
    gpu: &Gpu,
    parameters: &Parameters,
    entries: &Entries,
    rows: u32,
    tuning: Tuning,
    pass: Pass,
) -> Result<Box<dyn Selector>> {
    let Tuning { encode, method } = tuning;
    let sizes_of_chunks = [rows, parameters.config().usual_l0() as u32];
    let (list, sizes) = (parameters.description().lists[0], [rows, entries.second]);
    match list.keep {
        Keep::PerRow { .. } | Keep::Dead { .. } => {}
        Keep::PerBatch { .. } => return Ok(Box::new(Batch::new(gpu, parameters, sizes, encode, pass)?)),
        Keep::Admitted { .. } => {
            return Ok(Box::new(Admitted::new(gpu, parameters, sizes, encode, list.entry, pass)?));
        }
    }
    let sound: Result<Option<Box<dyn Selector>>> = match method {
        SelectionMethod::Chunked => return Ok(Box::new(Chunked::new(gpu, parameters, sizes_of_chunks, encode)?)),
        SelectionMethod::Grouped { group } => {
            Grouped::new(gpu, parameters, rows, encode, group).map(|sound| sound.map(|sound| Box::new(sound) as _))
        }
        SelectionMethod::Screened { variant, groups } => {
            Screened::new(gpu, parameters, rows, encode, screened::Settings { variant, groups, pass })
                .map(|sound| sound.map(|sound| Box::new(sound) as _))
        }
    };
    let problem = match sound {
        Ok(Some(selector)) => return Ok(selector),
        Ok(None) => "computes wrong results".to_owned(),
        Err(Error::Device(problem)) => problem,
        Err(error) => return Err(error),
    };
    log::warn!("{}: selection {method}: {problem}; selecting by chunks instead", gpu.description());
    Ok(Box::new(Chunked::new(gpu, parameters, sizes_of_chunks, encode)?))
}
