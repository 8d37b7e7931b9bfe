//! Where a TopK SAE starts.

use super::geometric_median;
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::{Sae, SaeConfig};

/// A TopK SAE before its first step (Gao et al. 2024, appendix A.1): decoder rows of random direction and norm 1, the
/// encoder equal to them, `b_enc` 0, `b_dec` the geometric median of the first batch `[rows, d_in]`.
///
/// Every number depends on the seed and its own place only.
///
/// # Errors
/// As [`SaeConfig::validate`], and [`Error::Config`] when this machine's memory does not hold the weights.
pub fn initialize(config: &SaeConfig, seed: u64, first_batch: &[f32]) -> Result<Sae> {
    config.validate()?;
    let rng = Rng::new(seed, Purpose::Weights);
    let mut w_dec = matrix(config)?;
    for feature in 0..config.features {
        let start = w_dec.len();
        for four in 0..config.d_in.div_ceil(4) {
            let wanted = (config.d_in - 4 * four).min(4);
            w_dec.extend(rng.block(feature as u64, four as u32).map(symmetric).iter().take(wanted));
        }
        let row = &mut w_dec[start..];
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        for value in row {
            *value = (f64::from(*value) / norm.max(f64::MIN_POSITIVE)) as f32;
        }
    }
    let mut w_enc = matrix(config)?;
    w_enc.extend_from_slice(&w_dec);
    Ok(Sae {
        config: config.clone(),
        w_enc,
        b_enc: vec![0.0; config.features],
        w_dec,
        b_dec: geometric_median(first_batch, config.d_in).iter().map(|&value| value as f32).collect(),
        provenance: Provenance::default(),
    })
}

/// An empty matrix with room for `[features, d_in]`.
fn matrix(config: &SaeConfig) -> Result<Vec<f32>> {
    let SaeConfig { features, d_in, .. } = *config;
    let mut values = Vec::new();
    match features.checked_mul(d_in).map(|size| values.try_reserve_exact(size)) {
        Some(Ok(())) => Ok(values),
        _ => Err(Error::Config(format!(
            "{features} features of {d_in} values do not fit the memory of this machine: take fewer features"
        ))),
    }
}
