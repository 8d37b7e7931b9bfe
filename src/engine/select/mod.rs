//! Finding the k largest keys of each row without holding all keys (docs/selection.md).

mod chunked;
mod chunks;
mod grouped;
mod groups;
mod policy;
mod screened;
mod tuning;

pub(super) use chunks::{Chunks, Limits, MAX_MULTIPLY_ADDS};
pub use policy::{Screening, SelectionMethod, SelectionShape};
pub use tuning::Tuning;

use chunked::Chunked;
use grouped::Grouped;
use screened::Screened;

use super::entries::Entries;
use super::parameters::Parameters;
use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Recording};
use crate::sae::description::KeyScale;

/// A method of selection: its kernels and its scratch memory.
pub trait Selector: Send + Sync {
    /// Records the selection of the codes: of each row the k largest keys.
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>);

    /// The method.
    fn method(&self) -> SelectionMethod;

    /// The number of rows that screening did not prove exact, `[1]`: where it is not 0, the batch was selected by
    /// chunks.
    fn uncertain(&self) -> &Buffer;
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
    /// Number of rows.
    pub rows: u32,
}

impl Inputs<'_> {
    /// 1 if keys are pre-activations times decoder norms, else 0.
    fn scaled(&self) -> u32 {
        u32::from(self.parameters.description().key == KeyScale::DecoderNorm)
    }
}

/// Makes the selector of a tuning for at most `rows` rows. Where the driver does not compute what the method relies on,
/// which is tried with random rows, chunks take its place ([`Selector::method`]).
///
/// # Errors
/// [`Error::Shader`] naming the kernel that the device refuses, [`Error::Device`] if it encodes wrongly, and those of
/// [`Gpu::buffer`].
pub fn selector(gpu: &Gpu, parameters: &Parameters, rows: u32, tuning: Tuning) -> Result<Box<dyn Selector>> {
    let Tuning { encode, method } = tuning;
    let sound: Result<Option<Box<dyn Selector>>> = match method {
        SelectionMethod::Chunked => return Ok(Box::new(Chunked::new(gpu, parameters, rows, encode)?)),
        SelectionMethod::Grouped { group } => {
            Grouped::new(gpu, parameters, rows, encode, group).map(|sound| sound.map(|sound| Box::new(sound) as _))
        }
        SelectionMethod::Screened { variant, groups } => {
            Screened::new(gpu, parameters, rows, encode, screened::Settings { variant, groups })
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
    Ok(Box::new(Chunked::new(gpu, parameters, rows, encode)?))
}
