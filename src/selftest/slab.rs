//! Whole steps without lists against the reference.

use super::check::{Check, Checker};
use super::step::{Run, TOLERANCE, loss};
use super::tensors::{f32s, f64s, random};
use crate::engine::path::StepPath;
use crate::engine::recipe::Recipe;
use crate::error::Result;
use crate::reference::{self, Counters, Settings};
use crate::sae::description::{Features, Penalty, Role};
use crate::sae::{Architecture, Gated, JumpRelu, PreActivation, Relu, SaeConfig};

const ROWS: usize = 300;
const D: usize = 17;
const FEATURES: usize = 70;
const STEPS: u64 = 2;
const LEARNING_RATE: f64 = 1e-3;

/// No feature is dead within the steps.
const DEAD_WINDOW: i64 = 10;

/// One of each kind, with so small a list that every step is taken without.
fn architectures() -> [Architecture; 3] {
    let capacity = Some(1);
    let jumprelu = JumpRelu {
        penalty: Penalty::Quadratic { target: 10.0 },
        l0: 0.01,
        bandwidth: 0.3,
        straight_through_to_input: true,
        log_threshold: false,
        pre_activation: Some(PreActivation { coefficient: 0.01, of: Features::All }),
        capacity,
    };
    let relu = Relu { l1: 0.1, normed: true, capacity };
    [relu.into(), jumprelu.into(), Gated { l1: 0.1, normed: true, detached: false, capacity }.into()]
}

fn initial(config: &SaeConfig) -> reference::State {
    let values = |seed, count| f64s(&random(seed, count));
    let small = |seed| f32s(&values(seed, FEATURES).iter().map(|value| 0.1 * value.abs() + 0.1).collect::<Vec<_>>());
    let parameters = reference::Parameters::new(config, |tensor| match tensor.role {
        Role::Encoder => values(1, FEATURES * D),
        Role::EncoderBias => f64s(&small(3)),
        Role::Decoder => values(2, FEATURES * D),
        Role::OutputBias => values(4, D),
        Role::Own(number) => f64s(&small(5 + number as u64)),
    });
    reference::State::new(config, parameters)
}

pub(super) fn check(checker: &Checker<'_>) -> Result<Vec<Check>> {
    let mut results = checker.compare("slab.results", TOLERANCE);
    let mut parameters = checker.compare("slab.parameters", TOLERANCE);
    let mut counters = checker.compare("slab.counters", 0.0);
    let recipe = Recipe {
        clip: Some(0.5),
        unit_norm_decoder: false,
        dead_window: (DEAD_WINDOW as u64) * ROWS as u64,
        ..Recipe::top_k(FEATURES, ROWS, 100)
    };
    let Recipe { clip, beta1, beta2, epsilon, .. } = recipe;
    let settings = Settings { clip, unit_norm_decoder: None, beta1, beta2, epsilon, dead_window: DEAD_WINDOW };
    for architecture in architectures() {
        let config = SaeConfig { architecture, ..SaeConfig::top_k(D, FEATURES, 1) };
        let mut state = initial(&config);
        let mut run = Run::by_chunks(checker.gpu, &config, &state.parameters, recipe.clone())?;
        for step in 0..STEPS {
            let x = f64s(&random(20 + step, ROWS * D));
            let actual = run.step(&x, LEARNING_RATE)?;
            let expected = reference::step(&mut state, &config, &x, &settings, LEARNING_RATE);
            let name = |what| (&config.architecture, step, what);
            results.close(name("loss"), &[loss(&actual) as f32], &[expected.forward.fields[0].loss]);
            results.close(name("norm"), &[actual.gradient_norm], &[expected.norm]);
            let fields = &expected.forward.fields[0].values;
            results.close(name("reconstruction"), &f32s(&run.reconstruction()?), fields);
            counters.equal(name("path"), &[run.path()], &[StepPath::Slabs]);
        }
        let after = run.parameters();
        for ((tensor, actual), (_, expected)) in after.each().zip(state.parameters.each()) {
            parameters.close((&config.architecture, tensor.name), &f32s(actual), expected);
        }
        let Counters { times_fired, .. } = run.counters();
        counters.equal((&config.architecture, "times_fired"), &times_fired, &state.counters.times_fired);
    }
    Ok(vec![results.done(), parameters.done(), counters.done()])
}
