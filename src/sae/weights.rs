//! Weights that are read some rows at a time, so that no matrix has to be in memory as a whole.

use std::ops::Range;

use super::description::TensorSpec;
use super::{Sae, SaeConfig};
use crate::data::Provenance;
use crate::error::{Error, Result};

/// An SAE wherever it is: on the host, on the device, in a file, or about to be drawn at random.
pub trait Weights {
    /// Sizes and selection.
    fn config(&self) -> &SaeConfig;

    /// Origin of the activations that it was trained on.
    fn provenance(&self) -> &Provenance;

    /// SAELens's name of the architecture that it was trained as.
    fn trained_as(&self) -> &str {
        self.config().architecture.saelens_name()
    }

    /// Fills `values` with whole rows of a tensor, from its row `first` on.
    ///
    /// # Errors
    /// Those of where the weights are.
    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()>;
}

/// Bytes of a tile: what is held of a matrix on the host at a time.
const TILE_BYTES: usize = 16 << 20;

/// Reads a tensor tile by tile: calls `take` with the first row of each tile and its values.
///
/// # Errors
/// Those of the weights and of `take`.
pub fn for_each_tile(
    weights: &dyn Weights,
    tensor: &TensorSpec,
    take: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let [rows, _] = tensor.shape(weights.config());
    for_each_tile_of(weights, tensor, 0..rows, take)
}

/// As [`for_each_tile`], of some rows.
pub(crate) fn for_each_tile_of(
    weights: &dyn Weights,
    tensor: &TensorSpec,
    rows: Range<usize>,
    mut take: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let [_, columns] = tensor.shape(weights.config());
    let tile = (TILE_BYTES / 4 / columns).max(1);
    let mut values = Vec::new();
    for first in rows.clone().step_by(tile) {
        values.resize(tile.min(rows.end - first) * columns, 0.0);
        weights.read(tensor, first, &mut values)?;
        take(first, &values)?;
    }
    Ok(())
}

macro_rules! weights_by_pointer {
    ($($pointer:ty),*) => {$(
        impl<W: Weights + ?Sized> Weights for $pointer {
            fn config(&self) -> &SaeConfig {
                (**self).config()
            }

            fn provenance(&self) -> &Provenance {
                (**self).provenance()
            }

            fn trained_as(&self) -> &str {
                (**self).trained_as()
            }

            fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
                (**self).read(tensor, first, values)
            }
        }
    )*};
}

weights_by_pointer!(&W, Box<W>);

impl Weights for Sae {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        let [rows, columns] = tensor.shape(&self.config);
        let at = self.config.tensors().iter().position(|known| known.name == tensor.name);
        let all = at.and_then(|at| self.tensors.get(at)).map(Vec::as_slice).unwrap_or_default();
        if rows.checked_mul(columns) != Some(all.len()) {
            let (name, found) = (tensor.name, all.len());
            return Err(Error::Config(format!(
                "{name} has {found} values, not the {rows} x {columns} that its configuration asks for"
            )));
        }
        values.copy_from_slice(&all[first * columns..][..values.len()]);
        Ok(())
    }
}

impl Sae {
    /// All of it on the host.
    ///
    /// # Errors
    /// Those of the weights, and [`Error::Config`] when this machine's memory does not hold them.
    pub fn read(weights: &dyn Weights) -> Result<Self> {
        let config = weights.config();
        let all = |tensor: &TensorSpec| {
            let [rows, columns] = tensor.shape(config);
            let mut values = super::zeros(rows, columns)?;
            weights.read(tensor, 0, &mut values)?;
            Ok(values)
        };
        Ok(Self {
            tensors: config.tensors().iter().map(all).collect::<Result<_>>()?,
            config: config.clone(),
            provenance: weights.provenance().clone(),
        })
    }
}
