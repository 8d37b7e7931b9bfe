//! From gradients to parameters: projection, clipping, Adam, the norm of decoder rows; and the counters of features.

use half::bf16;

use super::{List, add_scaled, dot, norms, row};

/// The treatment of gradients in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The largest norm of the whole gradient, if it is clipped.
    pub clip: Option<f64>,
    /// Keeps decoder rows at norm 1: projects their gradients, and divides rows by `|v|` + this epsilon after the
    /// update.
    pub unit_norm_decoder: Option<f64>,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
    /// A feature is dead once it has not fired for so many steps.
    pub dead_window: i64,
}

impl Settings {
    /// Adam's in a step.
    pub fn adam(&self, step: u64, lr: f64) -> Adam {
        Adam { lr, beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon, step }
    }
}

/// Removes from each row of a gradient of `w_dec`, both `[n, d]`, the part parallel to the decoder row:
/// dictionary_learning's `remove_gradient_parallel_to_decoder_directions`.
pub fn project(gradient: &mut [f64], w_dec: &[f64], d: usize) {
    let norms = norms(w_dec, d);
    for (j, gradient) in gradient.chunks_exact_mut(d).enumerate() {
        let direction: Vec<f64> = row(w_dec, j, d).iter().map(|v| v / (norms[j] + 1e-6)).collect();
        let parallel = dot(gradient, &direction);
        add_scaled(gradient, -parallel, &direction);
    }
}

/// The global gradient norm, and what clipping multiplies every gradient by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The norm of all gradients together, before clipping.
    pub norm: f64,
    /// `min(1, max_norm / (norm + 1e-6))`; 1 without a maximum.
    pub coefficient: f64,
}

/// `torch.nn.utils.clip_grad_norm_` over all parameters: `squared_norms` are those of the features' gradients, in any
/// parts, `bias_gradient` is that of `b_dec`.
pub fn clip(squared_norms: &[f64], bias_gradient: &[f64], max_norm: Option<f64>) -> Clip {
    let norm = (squared_norms.iter().sum::<f64>() + dot(bias_gradient, bias_gradient)).sqrt();
    let coefficient = max_norm.map_or(1.0, |max_norm| {
        let coefficient = max_norm / (norm + 1e-6);
        // Not f64::min, which would hide a NaN.
        if coefficient > 1.0 { 1.0 } else { coefficient }
    });
    Clip { norm, coefficient }
}

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

/// `value` as bf16, rounded up with the probability of what is cut: `random` is uniform over its 16 bits. What would
/// become infinite is cut.
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

/// When features fired, and how often: each `[n]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Counters {
    /// The step in which each feature last fired; before the first all are said to have fired in step 0.
    pub last_fired: Vec<i64>,
    /// The rows on which it fired.
    pub times_fired: Vec<u64>,
}

impl Counters {
    /// Those of `features` features before the first step.
    pub fn new(features: usize) -> Self {
        Self { last_fired: vec![0; features], times_fired: vec![0; features] }
    }

    /// Notes what the main list of a step's batch makes fire: its entries with a value above 0.
    pub fn count(&mut self, main: &List, step: u64) {
        for entry in main.iter().flatten().filter(|entry| entry.decoded > 0.0) {
            self.last_fired[entry.feature] = step as i64;
            self.times_fired[entry.feature] += 1;
        }
    }

    /// Features that have not fired for `window` steps when a step is over.
    pub fn dead(&self, step: u64, window: i64) -> usize {
        self.last_fired.iter().filter(|&last| step as i64 - last >= window).count()
    }
}
