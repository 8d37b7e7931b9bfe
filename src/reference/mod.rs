//! A training step on the CPU in f64: the oracle that the device is tested against, written to be read.
//!
//! `step` is the whole of it; `selection` finds the entries of the lists, `forward` reconstructs from them,
//! `backward` has the gradients, `optimizer` applies them. All of these follow the description of the architecture;
//! [`entry`] alone knows the kinds of its entries. The other files are the references of single kernels.
//!
//! Matrices are row-major slices: activations `[rows, d]`, pre-activations `[rows, n]`, both weights feature-major
//! `[n, d]`. Every sum runs in ascending order.

mod backward;
mod ceilings;
mod check_bounds;
mod encode;
pub mod entry;
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
pub use selection::{Candidates, Clock, Entry, List, largest, largest_of_batch, select};
pub use step::{State, StepOutput, step};
pub use to_f16::to_f16;

use crate::sae::SaeConfig;
use crate::sae::description::{Role, TensorSpec};
use entry::Own;

/// One number for every parameter: the parameters themselves, their gradients or their moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The tensors of the description, in its order.
    tensors: Vec<(TensorSpec, Vec<f64>)>,
}

impl Parameters {
    /// Those of an SAE; `values` gives each tensor's, both weights feature-major.
    ///
    /// # Panics
    /// If a tensor has another size.
    pub fn new(config: &SaeConfig, mut values: impl FnMut(&TensorSpec) -> Vec<f64>) -> Self {
        let with_values = |tensor: TensorSpec| {
            let values = values(&tensor);
            assert_eq!(values.len(), tensor.shape(config).iter().product::<usize>(), "{}", tensor.name);
            (tensor, values)
        };
        Self { tensors: config.tensors().into_iter().map(with_values).collect() }
    }

    /// A zero for each of `like`.
    pub fn zeros(like: &Self) -> Self {
        let tensors = like.tensors.iter();
        Self { tensors: tensors.map(|(tensor, values)| (*tensor, vec![0.0; values.len()])).collect() }
    }

    /// The tensor of a role; empty where the architecture has none.
    pub fn of(&self, role: Role) -> &[f64] {
        self.tensors.iter().find(|(tensor, _)| tensor.role == role).map_or(&[], |(_, values)| values)
    }

    /// The tensor of a role; empty where the architecture has none.
    pub fn of_mut(&mut self, role: Role) -> &mut [f64] {
        self.tensors.iter_mut().find(|(tensor, _)| tensor.role == role).map_or(&mut [], |(_, values)| values)
    }

    /// The tensors and what they are.
    pub fn each(&self) -> impl Iterator<Item = (&TensorSpec, &[f64])> {
        self.tensors.iter().map(|(tensor, values)| (tensor, values.as_slice()))
    }

    /// The tensors and what they are.
    pub fn each_mut(&mut self) -> impl Iterator<Item = (&TensorSpec, &mut [f64])> {
        self.tensors.iter_mut().map(|(tensor, values)| (&*tensor, values.as_mut_slice()))
    }

    /// The own scalars of a feature.
    pub fn own(&self, feature: usize) -> Own {
        std::array::from_fn(|number| self.of(Role::Own(number)).get(feature).copied().unwrap_or(0.0))
    }

    /// Adds to the own scalars of a feature, those that it has.
    fn add_own(&mut self, feature: usize, terms: Own) {
        for (number, term) in terms.into_iter().enumerate() {
            if let Some(sum) = self.of_mut(Role::Own(number)).get_mut(feature) {
                *sum += term;
            }
        }
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
