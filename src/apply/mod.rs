//! Running an SAE: the codes of rows, and how well they reconstruct.

mod encoder;
mod evaluator;

pub use encoder::{Encoder, HostCodes};
pub use evaluator::{Evaluation, Evaluator, Reconstruction, evaluate};
