//! The model: its configuration, its weights on the host, and the file layouts it is read from and written to.

mod parameters;
mod saelens;
mod weights;

use serde::{Deserialize, Serialize};

use crate::data::Provenance;
use crate::error::{Error, Result};

pub(crate) use parameters::pad_rows;
pub use parameters::{DeviceWeights, Parameters, Shard, shard_ranges};
pub use saelens::{SaeFile, load, open, save};
pub use weights::{Tensor, Weights, for_each_tile};

/// What defines a TopK sparse autoencoder besides its weights ("Scaling and evaluating sparse autoencoders", Gao et al. 2024, section 2.3).
///
/// `u = W_enc (x - b_dec) + b_enc`; of each row the `k` largest keys are kept and rectified; `x^ = W_decᵀ a + b_dec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SaeConfig {
    /// Width of an activation vector.
    pub d_in: usize,
    /// Number of features (dictionary size, `d_sae` in SAELens).
    pub features: usize,
    /// Active features a row.
    pub k: usize,
    /// Selects and reports `u · |W_dec row|` instead of `u` (SAELens's `rescale_acts_by_decoder_norm`).
    pub rescale_acts_by_decoder_norm: bool,
    /// Subtracts `b_dec` from the input before encoding.
    pub apply_b_dec_to_input: bool,
}

impl SaeConfig {
    /// Checks that the sizes make an SAE.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is 0, `k` exceeds `features`, or `features` exceeds 2^32 - 2.
    pub fn validate(&self) -> Result<()> {
        let Self { d_in, features, k, .. } = *self;
        if d_in == 0 || features == 0 {
            return Err(Error::Config(format!(
                "an SAE needs at least one input and one feature, not d_in {d_in} and {features} features"
            )));
        }
        if k == 0 || k > features {
            return Err(Error::Config(format!(
                "k is {k}: it must be at least 1 and at most the number of features, {features}"
            )));
        }
        if features >= u32::MAX as usize {
            return Err(Error::Config(format!("{features} features: at most 2^32 - 2 can be indexed")));
        }
        Ok(())
    }
}

/// Zeros for `[rows, columns]`, or an error when this machine has no room for them.
fn zeros(rows: usize, columns: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    match rows.checked_mul(columns).map(|size| values.try_reserve_exact(size).map(|()| size)) {
        Some(Ok(size)) => {
            values.resize(size, 0.0);
            Ok(values)
        }
        _ => Err(Error::Config(format!(
            "{rows} rows of {columns} values do not fit the memory of this machine: take fewer features"
        ))),
    }
}

/// An SAE on the host. Both matrices are feature-major: row `j` belongs to feature `j`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sae {
    /// Sizes and selection.
    pub config: SaeConfig,
    /// Encoder, `[features, d_in]`.
    pub w_enc: Vec<f32>,
    /// Encoder bias, `[features]`.
    pub b_enc: Vec<f32>,
    /// Decoder, `[features, d_in]`.
    pub w_dec: Vec<f32>,
    /// Decoder bias, `[d_in]`.
    pub b_dec: Vec<f32>,
    /// What it was trained on.
    pub provenance: Provenance,
}
