//! The operations of training on the CPU in f64: the oracle that the kernels of the same names are tested against.
//!
//! Matrices are row-major slices: activations `[rows, d]`, pre-activations `[rows, n]`, both weights feature-major
//! `[n, d]`. An *entry* is one kept feature of one row; its index is `row * k + slot`. Every sum runs in ascending order.

mod activity;
mod bias_gradient;
mod ceilings;
mod center;
mod certify;
mod clip;
mod code_gradients;
mod decode;
mod encode;
mod gradients;
mod halve;
pub mod lists;
mod norms;
mod rescore;
mod residual;
mod screen;
mod select;
mod step;
mod transpose;
mod update;

pub use activity::activity;
pub use bias_gradient::bias_gradient;
pub use ceilings::multiply_add;
pub use center::center;
pub use certify::certify;
pub use clip::{Clip, clip};
pub use code_gradients::code_gradients;
pub use decode::decode;
pub use encode::encode;
pub use gradients::{Gradients, gradients};
pub use halve::halve;
pub use norms::norms;
pub use rescore::rescore;
pub use residual::{Residual, residual};
pub use screen::screen;
pub use select::select;
pub use step::{Parameters, Recipe, State, StepOutput, step};
pub use transpose::{Runs, transpose};
pub use update::{Adam, adam, stochastic_bf16, unit_norm};

/// The sparse codes of a batch: exactly `k` entries a row, ascending by feature. All lists are `[rows, k]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// Entries a row.
    pub k: usize,
    /// The feature of each entry.
    pub features: Vec<u32>,
    /// `relu(u)`: what decode multiplies the feature's decoder row by.
    pub values: Vec<f64>,
    /// `relu(key)`: what SAELens reports as feature activations.
    pub keys: Vec<f64>,
}

/// `max(u, 0)`, except that NaN stays NaN.
fn relu(u: f64) -> f64 {
    if u > 0.0 || u.is_nan() { u } else { 0.0 }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Row `i` of a matrix of width `d`.
fn row(matrix: &[f64], i: usize, d: usize) -> &[f64] {
    &matrix[i * d..][..d]
}
