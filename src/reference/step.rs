//! A whole training step.

use super::{Clock, Counters, Forward, Parameters, Settings, adam, backward, clip, dot, forward, project, unit_norm};
use crate::sae::SaeConfig;

/// Everything that training changes.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The model.
    pub parameters: Parameters,
    /// Adam's first moments.
    pub m: Parameters,
    /// Adam's second moments.
    pub v: Parameters,
    /// When features fired, and how often.
    pub counters: Counters,
    /// Steps taken.
    pub steps: u64,
}

impl State {
    /// The state before the first step.
    pub fn new(parameters: Parameters) -> Self {
        let zeros = Parameters::zeros(&parameters);
        let counters = Counters::new(parameters.b_enc.len());
        Self { parameters, m: zeros.clone(), v: zeros, counters, steps: 0 }
    }
}

/// Results of a step, all of them with the parameters from before the step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutput {
    /// Codes, reconstructions and losses.
    pub forward: Forward,
    /// After projection, before clipping.
    pub gradients: Parameters,
    /// The norm of all gradients together.
    pub norm: f64,
    /// Features that are dead after the step.
    pub dead: usize,
}

impl StepOutput {
    /// All losses.
    pub fn loss(&self) -> f64 {
        self.forward.fields.iter().map(|field| field.loss).sum()
    }
}

/// One training step on `x` `[rows, d]`, in dictionary_learning's order: projection, clipping, Adam, unit norm.
pub fn step(state: &mut State, config: &SaeConfig, x: &[f64], settings: &Settings, learning_rate: f64) -> StepOutput {
    let number = state.steps + 1;
    let d = state.parameters.b_dec.len();

    let last_fired = &state.counters.last_fired;
    let clock = Clock { last_fired, step: number as i64, window: settings.dead_window };
    let forward = forward(config, &state.parameters, x, clock);
    let mut gradients = backward(config, &state.parameters, &forward);
    if settings.unit_norm_decoder.is_some() {
        project(&mut gradients.w_dec, &state.parameters.w_dec, d);
    }

    let of_features = [&gradients.w_enc, &gradients.b_enc, &gradients.w_dec];
    let clip = clip(&of_features.map(|gradient| dot(gradient, gradient)), &gradients.b_dec, settings.clip);
    let adam_step = settings.adam(number, learning_rate);
    let moments = state.m.each_mut().into_iter().zip(state.v.each_mut());
    let parameters = state.parameters.each_mut().into_iter();
    for ((parameter, gradient), (m, v)) in parameters.zip(gradients.each()).zip(moments) {
        adam(parameter, m, v, gradient, clip.coefficient, &adam_step);
    }
    if let Some(epsilon) = settings.unit_norm_decoder {
        unit_norm(&mut state.parameters.w_dec, d, epsilon);
    }

    state.counters.count(&forward.lists[0], number);
    state.steps = number;
    let dead = state.counters.dead(number, settings.dead_window);
    StepOutput { forward, gradients, norm: clip.norm, dead }
}
