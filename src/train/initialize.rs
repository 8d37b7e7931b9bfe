//! Where a TopK SAE starts.

use super::geometric_median;
use crate::data::Provenance;
use crate::error::Result;
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::{Sae, SaeConfig};

/// A TopK SAE before its first step (Gao et al. 2024, appendix A.1): decoder rows of random direction and norm 1, the
/// encoder equal to them, `b_enc` 0, `b_dec` the geometric median of the first batch `[rows, d_in]`.
///
/// Every number depends on the seed and its own place only.
///
/// # Errors
/// As [`SaeConfig::validate`].
pub fn initialize(config: &SaeConfig, seed: u64, first_batch: &[f32]) -> Result<Sae> {
    config.validate()?;
    let rng = Rng::new(seed, Purpose::Weights);
    let mut w_dec = Vec::with_capacity(config.features * config.d_in);
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
    Ok(Sae {
        config: config.clone(),
        w_enc: w_dec.clone(),
        b_enc: vec![0.0; config.features],
        w_dec,
        b_dec: geometric_median(first_batch, config.d_in).iter().map(|&value| value as f32).collect(),
        provenance: Provenance::default(),
    })
}
