//! Weights that are read some rows at a time, so that no matrix has to be in memory as a whole.

use std::ops::Range;

use super::{Sae, SaeConfig};
use crate::data::Provenance;
use crate::error::{Error, Result};

/// A parameter of an SAE, by rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tensor {
    /// `[features, d_in]`.
    WEnc,
    /// `[features, d_in]`.
    WDec,
    /// `[features]`.
    BEnc,
    /// One row, `[1, d_in]`.
    BDec,
}

impl Tensor {
    /// Number of rows, and of values in each.
    pub fn shape(self, config: &SaeConfig) -> [usize; 2] {
        let SaeConfig { d_in, features, .. } = *config;
        match self {
            Tensor::WEnc | Tensor::WDec => [features, d_in],
            Tensor::BEnc => [features, 1],
            Tensor::BDec => [1, d_in],
        }
    }

    /// As SAELens calls it.
    pub fn name(self) -> &'static str {
        match self {
            Tensor::WEnc => "W_enc",
            Tensor::WDec => "W_dec",
            Tensor::BEnc => "b_enc",
            Tensor::BDec => "b_dec",
        }
    }
}

/// An SAE wherever it is: on the host, on the device, in a file, or about to be drawn at random.
pub trait Weights {
    /// Sizes and selection.
    fn config(&self) -> &SaeConfig;

    /// What it was trained on.
    fn provenance(&self) -> &Provenance;

    /// Fills `values` with whole rows of a tensor, from its row `first` on.
    ///
    /// # Errors
    /// Those of where the weights are.
    fn read(&self, tensor: Tensor, first: usize, values: &mut [f32]) -> Result<()>;
}

/// Bytes of a tile: what is held of a matrix on the host at a time.
const TILE_BYTES: usize = 16 << 20;

/// Reads a tensor tile by tile: calls `take` with the first row of each tile and its values.
///
/// # Errors
/// Those of the weights and of `take`.
pub fn for_each_tile(
    weights: &dyn Weights,
    tensor: Tensor,
    take: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let [rows, _] = tensor.shape(weights.config());
    for_each_tile_of(weights, tensor, 0..rows, take)
}

/// As [`for_each_tile`], of some rows.
pub(super) fn for_each_tile_of(
    weights: &dyn Weights,
    tensor: Tensor,
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

impl Weights for Sae {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn read(&self, tensor: Tensor, first: usize, values: &mut [f32]) -> Result<()> {
        let [rows, columns] = tensor.shape(&self.config);
        let all = match tensor {
            Tensor::WEnc => &self.w_enc,
            Tensor::WDec => &self.w_dec,
            Tensor::BEnc => &self.b_enc,
            Tensor::BDec => &self.b_dec,
        };
        if rows.checked_mul(columns) != Some(all.len()) {
            let (name, found) = (tensor.name(), all.len());
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
        let all = |tensor: Tensor| {
            let [rows, columns] = tensor.shape(config);
            let mut values = super::zeros(rows, columns)?;
            weights.read(tensor, 0, &mut values)?;
            Ok(values)
        };
        Ok(Self {
            w_enc: all(Tensor::WEnc)?,
            b_enc: all(Tensor::BEnc)?,
            w_dec: all(Tensor::WDec)?,
            b_dec: all(Tensor::BDec)?,
            config: config.clone(),
            provenance: weights.provenance().clone(),
        })
    }
}
