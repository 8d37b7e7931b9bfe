//! Steps whose entries do not fit their list, and are computed without one.

use monosem::data::Batch;
use monosem::engine::path::StepPath;
use monosem::engine::select::{Screening, Tuning};
use monosem::engine::state::{StateSink, StateSource, Tile, state_tensors};
use monosem::reference::Parameters;
use monosem::rng::{Purpose, Rng, symmetric};
use monosem::sae::description::{Features, Penalty, Role};
use monosem::sae::{Architecture, Gated, JumpRelu, PreActivation, Relu, Sae, SaeConfig};
use monosem::selftest::step::{Run, TOLERANCE, loss};
use monosem::selftest::worst_error;
use monosem::train::{Progress, Recipe, Trainer, initialize};
use monosem::{Error, Result};

use crate::engine::training::{BATCH, D, batches, hash, recipe, trained};
use crate::kernels::gpu;

/// The same SAE with room for so many entries of a batch.
pub fn with_capacity(config: &SaeConfig, capacity: u64) -> SaeConfig {
    let mut config = config.clone();
    match &mut config.architecture {
        Architecture::Relu(relu) => relu.capacity = Some(capacity),
        Architecture::JumpRelu(jumprelu) => jumprelu.capacity = Some(capacity),
        Architecture::Gated(gated) => gated.capacity = Some(capacity),
        other => panic!("{other:?} has no capacity"),
    }
    config
}

/// More than a shard of the limited device, and no multiple of a vector.
const FEATURES: usize = 2101;

fn architectures() -> Vec<Architecture> {
    let relu = |normed| Relu { l1: 0.3, normed, capacity: None }.into();
    let jumprelu = |penalty, to_input, log_threshold, pre_activation: Option<Features>| {
        JumpRelu {
            penalty,
            l0: 0.02,
            bandwidth: 0.3,
            straight_through_to_input: to_input,
            log_threshold,
            pre_activation: pre_activation.map(|of| PreActivation { coefficient: 0.01, of }),
            capacity: None,
        }
        .into()
    };
    let gated = |normed, detached| Gated { l1: 0.3, normed, detached, capacity: None }.into();
    let (quadratic, tanh) = (Penalty::Quadratic { target: 20.0 }, Penalty::Tanh { scale: 4.0 });
    vec![
        relu(true),
        relu(false),
        jumprelu(Penalty::Step, false, false, None),
        jumprelu(quadratic, true, true, Some(Features::All)),
        jumprelu(tanh, true, false, Some(Features::Dead)),
        gated(true, false),
        gated(false, true),
    ]
}

fn values(seed: u64, count: usize, scale: f64) -> Vec<f64> {
    let rng = Rng::new(seed, Purpose::Weights);
    (0..count as u64).map(|at| f64::from(symmetric(rng.block(at, 0)[0]) * scale as f32)).collect()
}

fn initial(config: &SaeConfig) -> Parameters {
    Parameters::new(config, |tensor| match tensor.role {
        Role::Encoder => values(1, FEATURES * D, 0.5),
        Role::EncoderBias => values(3, FEATURES, 0.1),
        Role::Decoder => values(2, FEATURES * D, 0.5),
        Role::OutputBias => values(4, D, 0.1),
        // Thresholds are not negative, nor are they so small that their logarithms are large.
        Role::Own(number) => {
            values(5 + number as u64, FEATURES, 0.1).into_iter().map(|value| value.abs() + 0.1).collect()
        }
    })
}

#[test]
fn slabs_take_the_steps_that_lists_take_in_any_chunks() {
    // 2,048 features of 16 values, and 96 features of 300 rows.
    let narrow = gpu().with_max_binding_bytes(2048 * 16 * 4);
    for (case, architecture) in architectures().into_iter().enumerate() {
        let config = SaeConfig { architecture, ..SaeConfig::top_k(D, FEATURES, 1) };
        let initial = initial(&config);
        let is_clipped = case % 2 == 0;
        let usual = recipe(FEATURES, 10);
        let recipe = Recipe {
            clip: is_clipped.then_some(0.05),
            unit_norm_decoder: is_clipped,
            dead_window: 2 * BATCH as u64,
            ..usual
        };
        let [all, small] = [u64::MAX, 1].map(|capacity| with_capacity(&config, capacity));
        // Several shards and chunks for one of each kind.
        let devices = if case % 3 == 0 { vec![gpu(), &narrow] } else { vec![gpu()] };
        for device in devices {
            let mut listed = Run::by_chunks(gpu(), &all, &initial, recipe.clone()).unwrap();
            let mut dense = Run::by_chunks(device, &small, &initial, recipe.clone()).unwrap();
            for (number, batch) in batches(3, 2).iter().enumerate() {
                let name = format!("{:?}, step {number}", config.architecture);
                let x: Vec<f64> = batch.rows.to_f32().iter().map(|value| f64::from(*value)).collect();
                let (expected, actual) = (listed.step(&x, 1e-3).unwrap(), dense.step(&x, 1e-3).unwrap());
                assert_eq!((listed.path(), dense.path()), (StepPath::Lists, StepPath::Slabs));
                assert_eq!((actual.active, actual.dead), (expected.active, expected.dead), "{name}");
                let close = |what: &str, actual: &[f64], expected: &[f64]| {
                    let actual: Vec<f32> = actual.iter().map(|value| *value as f32).collect();
                    let (error, at) = worst_error(&actual, expected);
                    assert!(error <= TOLERANCE, "{name}: {what}[{at}] differs by {error:e}");
                };
                close("loss", &[loss(&actual)], &[loss(&expected)]);
                close("gradient norm", &[actual.gradient_norm.into()], &[expected.gradient_norm.into()]);
                for ((what, actual), (_, expected)) in actual.losses.iter().zip(&expected.losses) {
                    close(what, &[*actual], &[*expected]);
                }
                assert_eq!(actual.losses.len(), expected.losses.len());
                let (gradients, parameters) = (dense.gradients(), dense.parameters());
                for ((tensor, actual), (_, expected)) in gradients.each().zip(listed.gradients().each()) {
                    close(&format!("gradient of {}", tensor.name), actual, expected);
                }
                for ((tensor, actual), (_, expected)) in parameters.each().zip(listed.parameters().each()) {
                    close(tensor.name, actual, expected);
                }
                assert!(dense.counters() == listed.counters(), "{name}");
            }
        }
    }
}

/// The tensors of a state.
#[derive(Clone, PartialEq)]
pub struct State(Vec<Vec<u8>>, Vec<u64>);

impl State {
    pub fn empty(config: &SaeConfig, recipe: &Recipe) -> Self {
        let tensors = state_tensors(config, recipe.moments);
        Self(vec![Vec::new(); tensors.len()], tensors.iter().map(|tensor| tensor.row_bytes()).collect())
    }
}

impl StateSink for State {
    fn offer(&mut self, tile: Tile) -> Result<Option<Tile>> {
        self.put(tile).map(|()| None)
    }

    fn put(&mut self, tile: Tile) -> Result<()> {
        self.0[tile.tensor].extend(tile.bytes);
        Ok(())
    }
}

impl StateSource for State {
    fn read(&mut self, tensor: usize, first: u64, bytes: &mut [u8]) -> Result<()> {
        let begin = (first * self.1[tensor]) as usize;
        bytes.copy_from_slice(&self.0[tensor][begin..][..bytes.len()]);
        Ok(())
    }
}

const STEPS: u64 = 9;

/// Rows so large that many features are active, or so small that few are.
fn swinging_batches() -> Vec<Batch> {
    let scales = [1.0, 4.0, 1.0, 0.2, 1.0, 0.2, 4.0, 1.0, 1.0];
    let scaled = |(batch, scale): (Batch, f32)| {
        Batch::new(batch.rows.to_f32().iter().map(|value| value * scale).collect::<Vec<f32>>(), D)
    };
    batches(3, STEPS).into_iter().zip(scales).map(scaled).collect()
}

fn config(capacity: u64) -> SaeConfig {
    let architecture = Relu { l1: 0.1, normed: true, capacity: Some(capacity) }.into();
    SaeConfig { architecture, ..SaeConfig::top_k(D, FEATURES, 1) }
}

fn trainer(capacity: u64) -> Trainer {
    let config = config(capacity);
    let x = batches(3, 1)[0].rows.to_f32().to_vec();
    let mut initial = Sae::read(&initialize(&config, 3, &x).unwrap()).unwrap();
    let place = |name: &str| config.tensors().iter().position(|tensor| tensor.name == name).unwrap();
    // A fifth of the features is active on the rows as they are.
    let product = |w: &[f32], x: &[f32]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
    let w_enc = &initial.tensors[place("W_enc")];
    let of_row = |x: &[f32]| w_enc.chunks_exact(D).map(|w| product(w, x)).collect::<Vec<_>>();
    let mut products: Vec<f32> = x.chunks_exact(D).flat_map(of_row).collect();
    products.sort_by(f32::total_cmp);
    initial.tensors[place("b_enc")].fill(-products[products.len() / 5 * 4]);
    initial.tensors[place("b_dec")].fill(0.0);
    Trainer::new(gpu(), &initial, slow_recipe()).unwrap()
}

/// A recipe that hardly changes how many features are active.
fn slow_recipe() -> Recipe {
    Recipe { learning_rate: 1e-4, ..recipe(FEATURES, STEPS) }
}

pub fn take(trainer: &mut Trainer, batches: &[Batch]) -> Vec<Progress> {
    let mut finished: Vec<Progress> = batches.iter().filter_map(|batch| trainer.step(batch).unwrap()).collect();
    while let Some(progress) = trainer.next_finished().unwrap() {
        finished.push(progress);
    }
    finished
}

fn active(progress: &Progress) -> u64 {
    (progress.l0 * BATCH as f64).round() as u64
}

#[test]
fn the_path_follows_from_the_active_features_alone() {
    let batches = swinging_batches();
    let free = take(&mut trainer(u64::MAX), &batches);
    assert!(free.iter().all(|progress| progress.path.is_none()), "the list has room for any batch");
    // More than the first batch has, and less than the second.
    let capacity = active(&free[0]) * 6 / 5;

    let mut whole = trainer(capacity);
    let finished = take(&mut whole, &batches);
    let mut before = StepPath::Lists;
    let mut kept = 0;
    for (progress, free) in finished.iter().zip(&free) {
        let stays = before == StepPath::Slabs && active(progress) > capacity * 3 / 4;
        let expected = if active(progress) > capacity || stays { StepPath::Slabs } else { StepPath::Lists };
        assert_eq!(progress.path, Some(expected), "step {} of {} entries", progress.step, active(progress));
        assert!((progress.fvu / free.fvu - 1.0).abs() < 1e-3, "step {}", progress.step);
        kept += u64::from(expected == StepPath::Slabs && active(progress) <= capacity);
        before = expected;
    }
    let of_slabs = finished.iter().filter(|progress| progress.path == Some(StepPath::Slabs)).count();
    assert!(kept > 0 && of_slabs < finished.len(), "{kept}, {of_slabs}");

    // Steps that are waited for one by one have the same bits, and a run that goes on from any of them.
    let mut alone = trainer(capacity);
    let mut reports = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        reports.extend(take(&mut alone, std::slice::from_ref(batch)));
        if [2, 7].contains(&(number + 1)) {
            let (config, recipe) = (config(capacity), slow_recipe());
            let mut state = State::empty(&config, &recipe);
            alone.copy_state(&mut state).unwrap();
            let tuning = Tuning::estimated(gpu().description(), &config, BATCH, Screening::Auto);
            let mut resumed = Trainer::resume(gpu(), &config, recipe, tuning, number as u64 + 1, &mut state).unwrap();
            resumed.set_path(reports[number].path.unwrap());
            assert_eq!(take(&mut resumed, &batches[number + 1..]), finished[number + 1..], "from {number}");
            assert_eq!(hash(&trained(&resumed)), hash(&trained(&whole)));
        }
    }
    assert_eq!(reports, finished);
    assert_eq!(hash(&trained(&alone)), hash(&trained(&whole)));
}

#[test]
fn a_row_that_is_not_finite_ends_a_step_by_slabs_and_leaves_the_model() {
    let mut trainer = trainer(1);
    let batches = batches(3, 2);
    assert_eq!(take(&mut trainer, &batches[..1])[0].path, Some(StepPath::Slabs));
    let before = hash(&trained(&trainer));
    let mut rows = batches[1].rows.to_f32().to_vec();
    rows[7 * D + 3] = f32::NAN;
    trainer.step(&Batch::new(rows, D)).unwrap();
    let outcome = trainer.next_finished();
    assert!(matches!(outcome, Err(Error::Diverged { step: Some(2), row: Some(7), .. })), "{outcome:?}");
    assert_eq!(hash(&trained(&trainer)), before);
}
