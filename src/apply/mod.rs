//! Running an SAE: the codes of rows, and the quality of their reconstruction.

mod encoder;
mod evaluator;

pub use encoder::{Encoder, HostCodes};
pub use evaluator::{Evaluation, Evaluator, Reconstruction, evaluate};
