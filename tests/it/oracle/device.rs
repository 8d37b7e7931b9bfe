//! A step of every architecture whose entries have penalties, on the device, against the reference.

use monosem::engine::parameters::BLOCK_FEATURES;
use monosem::kernels::quads;
use monosem::reference::{self, Parameters, Settings, State};
use monosem::sae::description::{EntryKind, Features, Penalty, Role};
use monosem::sae::{Architecture, Gated, InputNormalization, JumpRelu, PreActivation, Relu, SaeConfig};
use monosem::selftest::step::{Run, TOLERANCE, loss};
use monosem::selftest::tensors::{f32s, f64s, random};
use monosem::train::Recipe;

use crate::kernels::gpu;
use crate::oracle::vectors::{Worst, losses, saelens_loss};

const D: usize = 100;
/// Three shards of at most 1,024 features.
const N: usize = 2100;
/// So few that some features are silent.
const ROWS: usize = 4;
const DEAD_WINDOW: i64 = 10;
const LIMIT: f64 = 0.25;

struct Case {
    architecture: Architecture,
    input_centred: bool,
    unit_norm: bool,
    input_normalization: InputNormalization,
}

fn cases() -> Vec<Case> {
    let usual = |architecture| Case {
        architecture,
        input_centred: true,
        unit_norm: false,
        input_normalization: InputNormalization::None,
    };
    let of_dictionary_learning = |architecture| Case { unit_norm: true, ..usual(architecture) };
    let normalized = |architecture| Case { input_normalization: InputNormalization::LayerNorm, ..usual(architecture) };
    let examples = Architecture::examples(N).into_iter().filter(|architecture| is_penalised(architecture.clone()));
    let jumprelu = |penalty, pre_activation| JumpRelu {
        penalty,
        l0: 0.25,
        bandwidth: 0.5,
        log_threshold: true,
        pre_activation,
        ..JumpRelu::inference()
    };
    let pre_activation = Some(PreActivation { coefficient: 0.125, of: Features::All });
    let mut cases: Vec<Case> = examples.map(usual).collect();
    assert_eq!(cases.len(), 3);
    cases.extend([
        of_dictionary_learning(Relu { l1: 0.5, normed: false, capacity: None }.into()),
        of_dictionary_learning(Gated { l1: 0.5, normed: false, detached: true, capacity: None }.into()),
        Case { input_centred: false, ..usual(jumprelu(Penalty::Quadratic { target: 20.0 }, pre_activation).into()) },
        of_dictionary_learning(jumprelu(Penalty::Step, None).into()),
        of_dictionary_learning(jumprelu(Penalty::Step, pre_activation).into()),
        normalized(jumprelu(Penalty::Step, pre_activation).into()),
        normalized(Gated { l1: 0.5, normed: true, detached: false, capacity: None }.into()),
    ]);
    cases
}

fn config(architecture: Architecture, input_centred: bool) -> SaeConfig {
    SaeConfig { apply_b_dec_to_input: input_centred, ..SaeConfig::new(D, N, architecture) }
}

fn is_penalised(architecture: Architecture) -> bool {
    config(architecture, true).describe().lists[0].entry != EntryKind::TopK
}

fn initial(config: &SaeConfig, unit_norm: bool) -> Parameters {
    let scaled =
        |seed, count, scale: f32| -> Vec<f32> { random(seed, count).into_iter().map(|value| value * scale).collect() };
    let mut w_dec = f64s(&random(2, N * D));
    if unit_norm {
        reference::unit_norm(&mut w_dec, D, f64::from(f32::EPSILON));
    }
    Parameters::new(config, |tensor| {
        f64s(&match tensor.role {
            Role::Encoder => scaled(1, N * D, 0.1),
            Role::Decoder => f32s(&w_dec),
            Role::OutputBias => scaled(4, D, 0.1),
            Role::EncoderBias => scaled(3, N, 0.1),
            // A threshold, or its logarithm.
            Role::Own(_) if tensor.name == "threshold" => {
                let thresholds = random(5, N).into_iter().map(|value| value.mul_add(0.1, 0.25));
                thresholds.map(|value| if tensor.non_negative { value } else { value.ln() }).collect()
            }
            Role::Own(number) => scaled(6 + number as u64, N, 0.2),
        })
    })
}

#[test]
fn penalised_steps_match_the_reference_in_shards() {
    let small = gpu().with_max_binding_bytes(u64::from(BLOCK_FEATURES) * u64::from(quads(D)) * 16);
    for Case { architecture, input_centred, unit_norm, input_normalization } in cases() {
        let name =
            format!("{architecture:?}, input centred {input_centred}, unit norm {unit_norm}, {input_normalization:?}");
        let config = SaeConfig { input_normalization, ..config(architecture, input_centred) };
        let recipe = Recipe {
            clip: Some(LIMIT),
            unit_norm_decoder: unit_norm,
            dead_window: DEAD_WINDOW as u64 * ROWS as u64,
            ..Recipe::top_k(N, ROWS, 100)
        };
        let settings = Settings {
            clip: recipe.clip,
            unit_norm_decoder: unit_norm.then_some(f64::from(f32::EPSILON)),
            beta1: recipe.beta1,
            beta2: recipe.beta2,
            epsilon: recipe.epsilon,
            dead_window: DEAD_WINDOW,
        };
        let initial = initial(&config, unit_norm);
        let mut state = State::new(&config, initial.clone());
        // Every third feature is dead.
        state.counters.last_fired.iter_mut().step_by(3).for_each(|last| *last = -DEAD_WINDOW);
        let mut run = Run::by_chunks(&small, &config, &initial, recipe).unwrap();
        run.set_last_fired(&state.counters.last_fired).unwrap();
        let x = f64s(&random(11, ROWS * D));
        let actual = run.step(&x, 1e-3).unwrap();
        let expected = reference::step(&mut state, &config, &x, &settings, 1e-3);
        let fired = state.counters.times_fired.iter().filter(|times| **times > 0).count();
        assert!(fired < N && expected.norm > LIMIT, "{name}: {fired} of {N} fired, norm {}", expected.norm);

        let mut worst = Worst::new(TOLERANCE);
        let pass = &expected.forward;
        worst.compare("norm", &[actual.gradient_norm.into()], &[expected.norm]);
        let others: f64 = actual.losses.iter().map(|(_, loss)| loss).sum();
        worst.compare("loss", &[loss(&actual) + others], &[pass.loss()]);
        for (loss, value) in losses(&config, pass).iter().skip(1) {
            let (_, found) = actual.losses.iter().find(|(name, _)| saelens_loss(name) == *loss).unwrap();
            worst.compare(loss, &[*found], &[*value]);
        }
        let scale = LIMIT / (expected.norm + 1e-6);
        for ((tensor, actual), (_, expected)) in run.gradients().each().zip(expected.gradients.each()) {
            let expected: Vec<f64> = expected.iter().map(|gradient| gradient * scale).collect();
            worst.compare(&format!("{name}: gradient of {}", tensor.name), actual, &expected);
        }
        let counters = run.counters();
        assert_eq!(
            (counters.last_fired, counters.times_fired),
            (state.counters.last_fired, state.counters.times_fired)
        );
        worst.report(&name);
    }
}
