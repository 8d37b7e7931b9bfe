//! What a feature's weights say of it.

use std::ops::Range;

use crate::error::Result;
use crate::sae::description::{Role, TensorSpec};
use crate::sae::{Weights, for_each_tile_of};

/// Measures of the weights of a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightMeasures {
    /// Norm of its decoder row.
    pub decoder_norm: f64,
    /// Cosine between its encoder row and its decoder row; 0 if one of them is zero.
    pub encoder_decoder_cosine: f64,
}

/// The measures of some features.
///
/// # Errors
/// Those of the weights.
pub fn measure_weights(weights: &dyn Weights, features: Range<usize>) -> Result<Vec<WeightMeasures>> {
    let tensors = weights.config().tensors();
    let of_role = |role: Role| tensors.iter().copied().find(|tensor: &TensorSpec| tensor.role == role);
    let d = weights.config().d_in;
    let (Some(encoder), Some(decoder)) = (of_role(Role::Encoder), of_role(Role::Decoder)) else {
        return Ok(Vec::new());
    };
    let mut measures = Vec::with_capacity(features.len());
    let mut encoder_rows = Vec::new();
    for_each_tile_of(weights, &decoder, features, |first, decoder_rows| {
        encoder_rows.resize(decoder_rows.len(), 0.0);
        weights.read(&encoder, first, &mut encoder_rows)?;
        let rows = encoder_rows.chunks_exact(d).zip(decoder_rows.chunks_exact(d));
        measures.extend(rows.map(|(encoder, decoder)| {
            let (decoder_norm, norms) = (dot(decoder, decoder).sqrt(), dot(encoder, encoder) * dot(decoder, decoder));
            let cosine = if norms > 0.0 { dot(encoder, decoder) / norms.sqrt() } else { 0.0 };
            WeightMeasures { decoder_norm, encoder_decoder_cosine: cosine }
        }));
        Ok(())
    })?;
    Ok(measures)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
