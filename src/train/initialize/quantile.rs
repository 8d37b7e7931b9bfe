//! Thresholds at which a feature is active as often as it should be when training begins.

use crate::apply::{Encoder, evaluate};
use crate::data::{Batch, Provenance};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::sae::description::Role;
use crate::sae::{InputNormalization, Sae, SaeConfig, Weights, WithConfig, for_each_tile};

/// Features whose quantiles are found at a time.
const FEATURES: usize = 4096;

/// For each feature the value that its product with so many of the centred rows `[rows, d_in]` exceeds that a row has
/// `active` features on average; 0 where that is below 0.
///
/// # Errors
/// Those of the device and of the weights.
pub fn quantiles(gpu: &Gpu, weights: &dyn Weights, rows: &[f32], active: f64) -> Result<Vec<f32>> {
    let SaeConfig { d_in, features, .. } = *weights.config();
    let count = rows.len() / d_in;
    let rank = (active / features as f64 * count as f64).round().clamp(1.0, count.max(1) as f64) as usize;
    // Rows and features change places: the quantile is the least of the `rank` rows that an encoder row is most
    // active on.
    let swapped = Sae {
        config: SaeConfig { apply_b_dec_to_input: false, ..SaeConfig::top_k(d_in, count, rank) },
        tensors: vec![rows.to_vec(), vec![0.0; count], vec![0.0; rows.len()], vec![0.0; d_in]],
        provenance: Provenance::default(),
    };
    let mut encoder = Encoder::new(gpu, &swapped, FEATURES.min(features))?;
    let mut quantiles = Vec::with_capacity(features);
    let w_enc = weights.config().describe().tensor(Role::Encoder);
    for_each_tile(weights, &w_enc, |_, tile| {
        for tile in tile.chunks(FEATURES.min(features) * d_in) {
            let codes = encoder.encode(tile)?;
            let least = |row: &[f32]| row.iter().copied().fold(f32::INFINITY, f32::min);
            quantiles.extend(codes.values.chunks_exact(rank).map(least));
        }
        Ok(())
    })?;
    Ok(quantiles)
}

/// The factor of the decoder with which rows `[rows, d_in]` are reconstructed best, normalised and centred as the SAE
/// does it.
///
/// # Errors
/// Those of the device and of the weights.
pub fn decoder_scale(gpu: &Gpu, weights: &dyn Weights, rows: &[f32]) -> Result<f64> {
    let count = rows.len() / weights.config().d_in;
    let batch = Batch::new(rows.to_vec(), weights.config().d_in);
    let config = SaeConfig { input_normalization: InputNormalization::None, ..weights.config().clone() };
    let weights = &WithConfig::new(weights, config).expect("its tensors are the same");
    let bias = evaluate(gpu, weights, count, [Ok(batch)])?.all.relative_reconstruction_bias;
    Ok(if bias.is_normal() && bias > 0.0 { 1.0 / bias } else { 1.0 })
}
