//! A whole training step.

use super::{Clock, Counters, Forward, Parameters, Settings, adam, backward, clip, dot, forward, project, unit_norm};
use crate::sae::SaeConfig;
use crate::sae::description::Role;

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
    pub fn new(config: &SaeConfig, parameters: Parameters) -> Self {
        let zeros = Parameters::zeros(&parameters);
        let counters = Counters::new(config.features);
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

/// One training step on `x` `[rows, d]`, in dictionary_learning's order: projection, clipping, Adam, unit norm.
pub fn step(state: &mut State, config: &SaeConfig, x: &[f64], settings: &Settings, learning_rate: f64) -> StepOutput {
    let number = state.steps + 1;
    let d = config.d_in;

    let last_fired = &state.counters.last_fired;
    let clock = Clock { last_fired, step: number as i64, window: settings.dead_window };
    let forward = forward(config, &state.parameters, x, clock);
    let mut gradients = backward(config, &state.parameters, &forward);
    if settings.unit_norm_decoder.is_some() {
        project(gradients.of_mut(Role::Decoder), state.parameters.of(Role::Decoder), d);
    }

    let of_features = gradients.each().filter(|(tensor, _)| tensor.role != Role::OutputBias);
    let squared_norms: Vec<f64> = of_features.map(|(_, gradient)| dot(gradient, gradient)).collect();
    let clip = clip(&squared_norms, gradients.of(Role::OutputBias), settings.clip);
    let adam_step = settings.adam(number, learning_rate);
    let moments = state.m.each_mut().zip(state.v.each_mut());
    for (((tensor, parameter), (_, gradient)), ((_, m), (_, v))) in
        state.parameters.each_mut().zip(gradients.each()).zip(moments)
    {
        adam(parameter, m, v, gradient, clip.coefficient, &adam_step);
        if tensor.non_negative {
            // SAELens does so before the next forward pass, which is the same.
            parameter.iter_mut().for_each(|value| *value = if *value < 0.0 { 0.0 } else { *value });
        }
    }
    if let Some(epsilon) = settings.unit_norm_decoder {
        unit_norm(state.parameters.of_mut(Role::Decoder), d, epsilon);
    }

    state.counters.count(&forward.lists[0], number);
    state.steps = number;
    let dead = state.counters.dead(number, settings.dead_window);
    StepOutput { forward, gradients, norm: clip.norm, dead }
}
