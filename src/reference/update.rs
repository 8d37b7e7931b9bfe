use half::bf16;

use super::dot;

/// The hyperparameters of one Adam step (Kingma & Ba 2015, in `torch.optim.Adam`'s form).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Number of this step: 1 for the first.
    pub step: u64,
}

/// One step of `torch.optim.Adam` on `coefficient * gradient`; `m` and `v` are the moments. All are of one length.
pub fn adam(parameter: &mut [f64], m: &mut [f64], v: &mut [f64], gradient: &[f64], coefficient: f64, adam: &Adam) {
    let correction1 = 1.0 - adam.beta1.powf(adam.step as f64);
    let correction2 = 1.0 - adam.beta2.powf(adam.step as f64);
    for i in 0..parameter.len() {
        let gradient = coefficient * gradient[i];
        m[i] += (1.0 - adam.beta1) * (gradient - m[i]);
        v[i] = adam.beta2 * v[i] + (1.0 - adam.beta2) * gradient * gradient;
        let denominator = v[i].sqrt() / correction2.sqrt() + adam.epsilon;
        parameter[i] -= adam.lr / correction1 * m[i] / denominator;
    }
}

/// `value` as bf16, rounded up with the probability of what is cut: `random` is uniform over its 16 bits. What would become
/// infinite is cut.
pub fn stochastic_bf16(value: f32, random: u16) -> bf16 {
    let rounded = value.to_bits().wrapping_add(random.into());
    let kept = if rounded & 0x7f80_0000 == 0x7f80_0000 { value.to_bits() } else { rounded };
    bf16::from_bits((kept >> 16) as u16)
}

/// `v_j /= |v_j| + epsilon` for every row of `w_dec` `[n, d]`: dictionary_learning's `set_decoder_norm_to_unit_norm`,
/// whose `epsilon` is the machine epsilon of the model's own precision.
pub fn unit_norm(w_dec: &mut [f64], d: usize, epsilon: f64) {
    for v in w_dec.chunks_exact_mut(d) {
        let norm = dot(v, v).sqrt();
        for v in v {
            *v /= norm + epsilon;
        }
    }
}
