use super::dot;

/// The global gradient norm, and what clipping multiplies every gradient by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The norm of all gradients together, before clipping.
    pub norm: f64,
    /// `min(1, max_norm / (norm + 1e-6))`; 1 without a maximum.
    pub coefficient: f64,
}

/// `torch.nn.utils.clip_grad_norm_` over all parameters: `squared_norms` holds those of the active features,
/// `bias_gradient` is that of `b_dec`.
pub fn clip(squared_norms: &[f64], bias_gradient: &[f64], max_norm: Option<f64>) -> Clip {
    let norm = (squared_norms.iter().sum::<f64>() + dot(bias_gradient, bias_gradient)).sqrt();
    let coefficient = max_norm.map_or(1.0, |max_norm| {
        let coefficient = max_norm / (norm + 1e-6);
        // Not f64::min, which would hide a NaN.
        if coefficient > 1.0 { 1.0 } else { coefficient }
    });
    Clip { norm, coefficient }
}
