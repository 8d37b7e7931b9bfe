//! A training step on the CPU in f64: the oracle that the device is tested against, written to be read.
//!
//! [`step`] is the whole of it; `selection` finds the entries of the lists, `forward` reconstructs from them,
//! `backward` has the gradients, `optimizer` applies them. The other files are the references of single kernels.
//!
//! Matrices are row-major slices: activations `[rows, d]`, pre-activations `[rows, n]`, both weights feature-major
//! `[n, d]`. Every sum runs in ascending order.

mod backward;
mod ceilings;
mod check_bounds;
mod encode;
mod forward;
pub mod lists;
mod optimizer;
mod rescore;
mod residual;
mod screen;
mod selection;
mod step;
mod to_f16;

pub use backward::backward;
pub use ceilings::multiply_add;
pub use check_bounds::check_bounds;
pub use encode::encode;
pub use forward::{Forward, Reconstruction, center, forward, norms, variance};
pub use optimizer::{Adam, Clip, Counters, Settings, adam, clip, project, stochastic_bf16, unit_norm};
pub use rescore::rescore;
pub use residual::{Residual, residual};
pub use screen::screen;
pub use selection::{Clock, Entry, List, largest, select_row};
pub use step::{State, StepOutput, step};
pub use to_f16::to_f16;

/// One number for every parameter: the parameters themselves, their gradients or their moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Encoder, `[n, d]`.
    pub w_enc: Vec<f64>,
    /// Encoder bias, `[n]`.
    pub b_enc: Vec<f64>,
    /// Decoder, `[n, d]`.
    pub w_dec: Vec<f64>,
    /// Decoder bias, `[d]`.
    pub b_dec: Vec<f64>,
}

impl Parameters {
    /// The tensors in the order of [`Parameters::each`], by SAELens's names.
    pub const NAMES: [&'static str; 4] = ["W_enc", "b_enc", "W_dec", "b_dec"];

    /// A zero for each of `like`.
    pub fn zeros(like: &Self) -> Self {
        Self {
            w_enc: vec![0.0; like.w_enc.len()],
            b_enc: vec![0.0; like.b_enc.len()],
            w_dec: vec![0.0; like.w_dec.len()],
            b_dec: vec![0.0; like.b_dec.len()],
        }
    }

    /// Encoder, encoder bias, decoder, decoder bias.
    pub fn each(&self) -> [&[f64]; 4] {
        [&self.w_enc, &self.b_enc, &self.w_dec, &self.b_dec]
    }

    /// Encoder, encoder bias, decoder, decoder bias.
    pub fn each_mut(&mut self) -> [&mut [f64]; 4] {
        [&mut self.w_enc, &mut self.b_enc, &mut self.w_dec, &mut self.b_dec]
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(sum: &mut [f64], scale: f64, term: &[f64]) {
    for (sum, term) in sum.iter_mut().zip(term) {
        *sum += scale * term;
    }
}

/// Row `i` of a matrix of width `d`.
fn row(matrix: &[f64], i: usize, d: usize) -> &[f64] {
    &matrix[i * d..][..d]
}

/// Row `i` of a matrix of width `d`.
fn row_mut(matrix: &mut [f64], i: usize, d: usize) -> &mut [f64] {
    &mut matrix[i * d..][..d]
}
