//! Running an SAE: the codes of rows, and the quality of their reconstruction.

mod blame;
mod encoder;
mod evaluator;
mod products;
mod stream;

pub use blame::blame_row;
pub use encoder::{Encoder, HostCodes};
pub use evaluator::{Evaluation, Evaluator, Reconstruction, evaluate};
pub use products::{LargestProducts, Matrix, Products};
