//! Steps whose chunks of features are halved because their dispatches would last too long.

use monosem::engine::parameters::Parameters;
use monosem::engine::planes::Planes;
use monosem::engine::select::{ScreenMode, SelectionMethod, Tuning};
use monosem::engine::stage::World;
use monosem::engine::step::{Outcome, StepInput, StepResults, TrainingStep};
use monosem::kernels::{EncodeVariant, ScreenVariant};
use monosem::sae::{Architecture, AuxKForm, BatchTopK, Relu, SaeConfig};
use monosem::train::{Recipe, initialize};

use crate::engine::redo::State;
use crate::engine::training::{BATCH, FEATURES, batches, config, recipe, with_auxk};
use crate::kernels::gpu;

const STEPS: u64 = 3;

/// Features of two chunks once they are halved, and of three that cannot be smaller.
const FEW: usize = 2500;

struct Taken {
    results: Vec<StepResults>,
    state: State,
    /// Dispatches of the last step that encode or screen.
    chunks: usize,
}

/// Steps whose chunks are halved so many times from the second on.
fn take(config: &SaeConfig, recipe: &Recipe, method: SelectionMethod, times: u32) -> Taken {
    let batches = batches(3, STEPS);
    let initial = initialize(config, 3, &batches[0].rows.to_f32()).unwrap();
    let parameters = Parameters::allocate(gpu(), config, Planes::training(&config.describe())).unwrap();
    let tuning = Tuning { encode: encode(method), ..Tuning::usual(gpu().description(), method) };
    let mut step = TrainingStep::new(gpu(), parameters, recipe.clone(), tuning, World::Solo).unwrap();
    step.fill(gpu(), &initial).unwrap();
    if let SelectionMethod::Screened { groups, .. } = step.forward().selector().method() {
        step.set_screen(ScreenMode::Optimistic { groups });
    }
    assert_eq!(step.forward().selector().method().to_string(), method.to_string());
    let (mut results, mut chunks) = (Vec::new(), 0);
    for (taken, batch) in (0..).zip(&batches) {
        let input = StepInput { rows: batch.rows.view(), learning_rate: recipe.learning_rate_at(taken) };
        let (pending, timing) = step.submit_and_time(gpu(), input).unwrap();
        let Outcome::Done(result) = step.results(gpu(), pending).unwrap() else { panic!("it is taken again") };
        results.push(result);
        let spans = timing.wait(gpu()).unwrap();
        chunks =
            spans.iter().filter(|span| span.kernel.starts_with("encode") || span.kernel.starts_with("screen")).count();
        step.halve_chunks(times);
    }
    let mut state = State::default();
    step.copy_state(gpu(), &mut state).unwrap();
    Taken { results, state, chunks }
}

/// A variant of the groups that the method has.
fn encode(method: SelectionMethod) -> EncodeVariant {
    let mut available = EncodeVariant::available(gpu().description()).into_iter();
    let is_fitting =
        |variant: &EncodeVariant| !matches!(method, SelectionMethod::Grouped { group } if variant.group() != group);
    available.find(is_fitting).unwrap()
}

#[test]
fn halved_chunks_leave_every_bit_of_every_way_to_find_features() {
    let group = EncodeVariant::best(gpu().description()).group();
    let screened = SelectionMethod::Screened { variant: ScreenVariant::Portable, groups: 60 };
    let of = |architecture: Architecture| SaeConfig { architecture, ..config(FEW) };
    let (with_dead, dying) = with_auxk(AuxKForm::Normalised, config(FEATURES), recipe(FEATURES, STEPS));
    let plain = recipe(FEW, STEPS);
    let relu = Relu { l1: 0.1, normed: true, capacity: Some((BATCH * FEW) as u64) };
    let cases = [
        ("chunked", config(FEW), &plain, SelectionMethod::Chunked),
        ("grouped", config(FEW), &plain, SelectionMethod::Grouped { group }),
        ("screened", config(FEW), &plain, screened),
        ("dead", with_dead, &dying, SelectionMethod::Chunked),
        ("batch", of(BatchTopK::new(7).into()), &plain, SelectionMethod::Chunked),
        ("admitted", of(relu.into()), &plain, SelectionMethod::Chunked),
    ];
    for (name, config, recipe, method) in cases {
        let whole = take(&config, recipe, method, 0);
        for times in [1, 10] {
            let halved = take(&config, recipe, method, times);
            assert!(halved.chunks > whole.chunks, "{name}: {} chunks, then {}", whole.chunks, halved.chunks);
            assert_eq!(halved.results, whole.results, "{name}, halved {times} times");
            assert!(halved.state == whole.state, "{name}: the states differ, halved {times} times");
        }
    }
}
