//! A k that falls while an SAE is trained.

use monosem::data::Batch;
use monosem::engine::parameters::Parameters as DeviceParameters;
use monosem::engine::path::StepPath;
use monosem::engine::planes::Planes;
use monosem::engine::select::{Screening, SelectionMethod, SelectionShape, Tuning};
use monosem::engine::stage::World;
use monosem::engine::step::{Outcome, StepInput, TrainingStep};
use monosem::gpu::Gpu;
use monosem::gpu::shaders::check_bounds::{AUDITED, FIRST, LISTED};
use monosem::measure::Plan;
use monosem::reference::{self, Parameters, Settings, State as ReferenceState};
use monosem::sae::description::Role;
use monosem::sae::{Architecture, AuxK, AuxKForm, BatchTopK, Matryoshka, SaeConfig, TopK};
use monosem::selftest::screen::variants;
use monosem::selftest::step::{Run, TOLERANCE, loss};
use monosem::selftest::tensors::{f32s, f64s, random};
use monosem::train::{KAnnealing, Progress, Recipe, Trainer, initialize};

use crate::engine::slabs::{State, take};
use crate::engine::training::{BATCH, D, FEATURES, batches, hash, recipe, trained};
use crate::kernels::gpu;
use crate::oracle::vectors::Worst;

const K: usize = 5;
const STEPS: u64 = 6;

/// k of each step: 5 + 15 · (4 - step) / 4, rounded down.
const KS: [usize; STEPS as usize] = [20, 16, 12, 8, 5, 5];

const ANNEALING: KAnnealing = KAnnealing { start: 20, steps: 4 };

/// The architectures with this many active features per row.
fn architectures(k: usize, features: usize) -> [Architecture; 3] {
    let auxk = Some(AuxK::new(AuxKForm::Normalised));
    [
        TopK { auxk, ..TopK::new(k) }.into(),
        BatchTopK::new(k).into(),
        Matryoshka {
            k,
            widths: vec![features / 5, features],
            weights: None,
            rescale_acts_by_decoder_norm: false,
            auxk: Some(AuxK::new(AuxKForm::SaeLens)),
        }
        .into(),
    ]
}

fn configs(k: usize) -> [SaeConfig; 3] {
    let config = SaeConfig::top_k(D, FEATURES, k);
    architectures(k, FEATURES).map(|architecture| SaeConfig { architecture, ..config.clone() })
}

/// With a window that leaves features dead within a few steps.
fn annealed() -> Recipe {
    Recipe { k_annealing: Some(ANNEALING), dead_window: 2 * BATCH as u64, ..recipe(FEATURES, STEPS) }
}

fn tunings(gpu: &Gpu, config: &SaeConfig) -> Vec<Tuning> {
    let encode = Tuning::usual(gpu.description(), SelectionMethod::Chunked).encode;
    let shape = SelectionShape::new(config, BATCH);
    let methods = [Screening::F32, Screening::F16]
        .into_iter()
        .flat_map(|screening| SelectionMethod::available(gpu.description(), encode, screening, shape));
    methods.map(|method| Tuning { encode, method }).collect()
}

fn trainer(gpu: &Gpu, config: &SaeConfig, tuning: Tuning) -> Trainer {
    let initial = initialize(config, 3, &batches(3, 1)[0].rows.to_f32()).unwrap();
    Trainer::with_tuning(gpu, &initial, annealed(), tuning).unwrap()
}

#[test]
fn every_step_is_that_of_an_sae_with_its_k() {
    let batches = batches(3, STEPS);
    let of_k = KS.map(configs);
    for (number, config) in configs(K).iter().enumerate() {
        let tuning = Tuning::usual(gpu().description(), SelectionMethod::Chunked);
        let mut trainer = trainer(gpu(), config, tuning);
        let mut dead = 0;
        for (step, batch) in batches.iter().enumerate() {
            if step % 2 > 0 {
                take(&mut trainer, std::slice::from_ref(batch));
                continue;
            }
            let (fixed, plain) = (&of_k[step][number], Recipe { k_annealing: None, ..annealed() });
            let (mut before, mut after, mut expected) =
                (State::empty(config, &plain), State::empty(config, &plain), State::empty(config, &plain));
            trainer.copy_state(&mut before).unwrap();
            let progress = take(&mut trainer, std::slice::from_ref(batch));
            trainer.copy_state(&mut after).unwrap();
            let mut alone = Trainer::resume(gpu(), fixed, plain, tuning, step as u64, &mut before).unwrap();
            let of_fixed = take(&mut alone, std::slice::from_ref(batch));
            alone.copy_state(&mut expected).unwrap();
            assert_eq!(progress[0].k, Some(KS[step]), "{config:?}");
            assert_eq!(progress[0], Progress { k: Some(KS[step]), ..of_fixed[0].clone() }, "{config:?}");
            assert!(after == expected, "{config:?}, step {step}");
            // Held-out rows are encoded with the same k.
            let held_out = || [Ok(Batch::new(batch.rows.to_f32()[..7 * D].to_vec(), D))];
            assert_eq!(trainer.validate(held_out()).unwrap(), alone.validate(held_out()).unwrap());
            dead += progress[0].dead;
        }
        assert!(dead > 0);
    }
}

#[test]
fn methods_shards_and_resumes_have_the_same_bits() {
    let batches = batches(3, STEPS);
    let sharded = gpu().with_max_binding_bytes(4096 * 16 * 4);
    for config in configs(K) {
        let mut expected: Option<(String, Vec<Progress>)> = None;
        for tuning in tunings(gpu(), &config) {
            let mut whole = trainer(gpu(), &config, tuning);
            let progress = take(&mut whole, &batches);
            let found = (hash(&trained(&whole)), progress);
            assert_eq!(*expected.get_or_insert_with(|| found.clone()), found, "{config:?}, {tuning}");
        }
        let (bits, progress) = expected.unwrap();
        assert_eq!(progress.iter().map(|progress| progress.k.unwrap()).collect::<Vec<_>>(), KS);
        for saved in [2, 4] {
            let tuning = tunings(gpu(), &config)[0];
            let mut first = trainer(&sharded, &config, tuning);
            take(&mut first, &batches[..saved]);
            let mut state = State::empty(&config, &annealed());
            first.copy_state(&mut state).unwrap();
            let mut resumed = Trainer::resume(gpu(), &config, annealed(), tuning, saved as u64, &mut state).unwrap();
            assert_eq!(take(&mut resumed, &batches[saved..]), progress[saved..]);
            assert_eq!(hash(&trained(&resumed)), bits, "{config:?}, resumed from {saved}");
        }
    }
}

#[test]
fn rows_are_audited_also_where_k_has_fallen() {
    let config = SaeConfig::top_k(D, 1000, K);
    let method = SelectionMethod::Screened { variant: variants(gpu())[0], groups: 60 };
    let batch = &batches(3, 1)[0];
    for k_annealing in [None, Some(ANNEALING)] {
        let recipe = Recipe { k_annealing, ..recipe(1000, 1000) };
        let parameters = DeviceParameters::allocate(gpu(), &config, Planes::training(&config.describe())).unwrap();
        let tuning = Tuning::usual(gpu().description(), method);
        let mut step = TrainingStep::new(gpu(), parameters, recipe.clone(), tuning, World::Solo).unwrap();
        step.fill(gpu(), &initialize(&config, 3, &batch.rows.to_f32()).unwrap()).unwrap();
        let mut state = State::empty(&config, &recipe);
        step.copy_state(gpu(), &mut state).unwrap();
        // The next one is audited.
        step.restore_state(gpu(), &mut state, 256).unwrap();
        let rows = batch.rows.view();
        let pending = step.submit(gpu(), StepInput { rows, learning_rate: 1e-3 }).unwrap();
        assert!(matches!(step.results(gpu(), pending).unwrap(), Outcome::Done(_)));
        let reruns: Vec<u32> = gpu().read(step.forward().selector().uncertain()).unwrap();
        let mut listed = reruns[FIRST as usize..][..reruns[LISTED as usize] as usize].to_vec();
        listed.sort_unstable();
        assert_eq!(listed, (8..16).map(|row| row | AUDITED).collect::<Vec<_>>(), "{k_annealing:?}");
    }
}

#[test]
fn a_step_of_a_falling_k_can_be_taken_again() {
    let batches = batches(3, STEPS);
    let config = &configs(K)[0];
    let tuning = tunings(gpu(), config)[0];
    let mut whole = trainer(gpu(), config, tuning);
    let expected = take(&mut whole, &batches);
    let mut again = trainer(gpu(), config, tuning);
    // Two are under way behind the one that finds its list full, each with a smaller k.
    again.fill_list(1);
    assert_eq!(take(&mut again, &batches), expected);
    assert_eq!(hash(&trained(&again)), hash(&trained(&whole)));
    assert!(expected.iter().all(|progress| progress.path != Some(StepPath::Slabs)));
}

#[test]
fn a_plan_has_room_for_the_first_k() {
    for config in configs(K) {
        let tuning = tunings(gpu(), &config)[0];
        let gpu = gpu().with_max_binding_bytes(gpu().max_binding_bytes());
        let plan = |recipe: &Recipe| Plan::of(gpu.description(), &config, recipe, tuning).unwrap();
        let (falls, stays) = (plan(&annealed()), plan(&Recipe { k_annealing: None, ..annealed() }));
        assert!(falls.device["codes"] > stays.device["codes"]);
        let mut trainer = trainer(&gpu, &config, tuning);
        assert_eq!(gpu.memory(), falls.device);
        take(&mut trainer, &batches(3, STEPS));
        assert_eq!(gpu.memory()["codes"], falls.device["codes"]);
    }
}

const ROWS: usize = 4;
const WIDTH: usize = 100;
const N: usize = 2100;

#[test]
fn steps_of_a_falling_k_match_the_reference() {
    for (number, architecture) in architectures(K, N).into_iter().enumerate() {
        let name = format!("{architecture:?}");
        let config = SaeConfig::new(WIDTH, N, architecture);
        let recipe = Recipe {
            clip: None,
            dead_window: 1000 * ROWS as u64,
            k_annealing: Some(ANNEALING),
            ..Recipe::top_k(N, ROWS, STEPS)
        };
        let Recipe { clip, beta1, beta2, epsilon, .. } = recipe;
        let unit_norm_decoder = Some(f64::from(f32::EPSILON));
        let settings = Settings { clip, unit_norm_decoder, beta1, beta2, epsilon, dead_window: 1000 };
        let scaled = |seed, count, scale: f64| -> Vec<f64> {
            f64s(&f32s(&f64s(&random(seed, count)).iter().map(|value| value * scale).collect::<Vec<_>>()))
        };
        let mut w_dec = scaled(2, N * WIDTH, 1.0);
        reference::unit_norm(&mut w_dec, WIDTH, f64::from(f32::EPSILON));
        let initial = Parameters::new(&config, |tensor| match tensor.role {
            Role::Encoder => scaled(1, N * WIDTH, 0.1),
            Role::Decoder => f64s(&f32s(&w_dec)),
            Role::EncoderBias | Role::Own(_) => scaled(3, N, 0.1),
            Role::OutputBias => scaled(4, WIDTH, 0.1),
        });
        let mut state = ReferenceState::new(&config, initial.clone());
        let mut run = Run::by_chunks(gpu(), &config, &initial, recipe).unwrap();
        let mut worst = Worst::new(TOLERANCE);
        for (step, k) in KS.into_iter().enumerate() {
            let x = f64s(&random(11 + step as u64, ROWS * WIDTH));
            let actual = run.step(&x, 1e-3).unwrap();
            let of_k = SaeConfig { architecture: architectures(k, N)[number].clone(), ..config.clone() };
            let expected = reference::step(&mut state, &of_k, &x, &settings, 1e-3);
            let features = |list: &reference::List| -> Vec<Vec<usize>> {
                list.iter().map(|row| row.iter().map(|entry| entry.feature).collect()).collect()
            };
            let (found, wanted) = (features(&run.lists().unwrap()[0]), features(&expected.forward.lists[0]));
            assert_eq!(wanted.iter().map(Vec::len).sum::<usize>(), k * ROWS, "{name}");
            assert_eq!(found, wanted, "{name}, step {step}");
            worst.compare("loss", &[loss(&actual)], &[expected.forward.fields[wanted_field(&config)].loss]);
            worst.compare("norm", &[actual.gradient_norm.into()], &[expected.norm]);
        }
        for ((tensor, actual), (_, expected)) in run.parameters().each().zip(state.parameters.each()) {
            worst.compare(tensor.name, actual, expected);
        }
        worst.report(&name);
    }
}

/// The field that all features reconstruct.
fn wanted_field(config: &SaeConfig) -> usize {
    config.describe().levels().count() - 1
}
