//! Steps whose chunks of features are halved because their dispatches would last too long.

use monosem::data::{Batch, RowsView};
use monosem::engine::parameters::Parameters;
use monosem::engine::planes::Planes;
use monosem::engine::select::{ScreenMode, SelectionMethod, Tuning};
use monosem::engine::stage::World;
use monosem::engine::step::{Outcome, StepInput, StepResults, TrainingStep};
use monosem::gpu::Gpu;
use monosem::kernels::{EncodeVariant, ScreenVariant};
use monosem::sae::{Architecture, AuxKForm, BatchTopK, Relu, SaeConfig};
use monosem::train::{Recipe, initialize};

use crate::engine::redo::State;
use crate::engine::training::{BATCH, D, FEATURES, batches, config, recipe, with_auxk};
use crate::kernels::gpu;

const STEPS: u64 = 3;

/// Features of two chunks once they are halved, and of three that cannot be smaller.
const FEW: usize = 2500;

/// A way to take steps.
struct Way {
    gpu: Gpu,
    config: SaeConfig,
    recipe: Recipe,
    method: SelectionMethod,
    mode: ScreenMode,
}

impl Way {
    fn new(config: SaeConfig, method: SelectionMethod) -> Self {
        let recipe = recipe(config.features, STEPS);
        Self { gpu: gpu().clone(), config, recipe, method, mode: ScreenMode::Complete }
    }

    fn start(&self, first: &Batch) -> TrainingStep {
        let Self { gpu, config, recipe, method, mode } = self;
        let initial = initialize(config, 3, &first.rows.to_f32()).unwrap();
        let parameters = Parameters::allocate(gpu, config, Planes::training(&config.describe())).unwrap();
        let mut variants = EncodeVariant::available(gpu.description()).into_iter();
        let fits = |variant: &EncodeVariant| match *method {
            SelectionMethod::Grouped { group } => variant.group() == group,
            _ => true,
        };
        let tuning = Tuning { encode: variants.find(fits).unwrap(), method: *method };
        let mut step = TrainingStep::new(gpu, parameters, recipe.clone(), tuning, World::Solo).unwrap();
        step.fill(gpu, &initial).unwrap();
        step.set_screen(*mode);
        assert_eq!(step.forward().selector().method().to_string(), method.to_string());
        step
    }

    /// Takes a step: its results, and the dispatches that encode or screen.
    fn take(&self, step: &mut TrainingStep, batch: &Batch) -> (StepResults, usize) {
        let rows = &batch.rows.to_f32()[..self.recipe.batch * D];
        let input = StepInput { rows: RowsView::F32(rows), learning_rate: 1e-3 };
        let (pending, timing) = step.submit_and_time(&self.gpu, input).unwrap();
        let Outcome::Done(results) = step.results(&self.gpu, pending).unwrap() else { panic!("it is taken again") };
        let kernels: Vec<_> = timing.wait(&self.gpu).unwrap().into_iter().map(|span| span.kernel).collect();
        (results, kernels.iter().filter(|kernel| kernel.starts_with("encode") || kernel.starts_with("screen")).count())
    }

    /// Takes steps whose chunks are halved so many times from the second on.
    fn take_all(&self, times: u32) -> (Vec<StepResults>, State, usize) {
        let batches = batches(3, STEPS);
        let mut step = self.start(&batches[0]);
        let mut taken = Vec::new();
        for batch in &batches {
            taken.push(self.take(&mut step, batch));
            step.halve_chunks(times);
        }
        let mut state = State::default();
        step.copy_state(&self.gpu, &mut state).unwrap();
        let (results, chunks): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        (results, state, chunks[STEPS as usize - 1])
    }
}

#[test]
fn halved_chunks_leave_every_bit_of_every_way_to_find_features() {
    let group = EncodeVariant::best(gpu().description()).group();
    let screened = |groups| SelectionMethod::Screened { variant: ScreenVariant::Portable, groups };
    let of = |architecture: Architecture| SaeConfig { architecture, ..config(FEW) };
    let chunked = |config: SaeConfig| Way::new(config, SelectionMethod::Chunked);
    let relu = Relu { l1: 0.1, normed: true, capacity: Some((BATCH * FEW) as u64) };
    let (with_dead, dying) = with_auxk(AuxKForm::Normalised, config(FEATURES), recipe(FEATURES, STEPS));
    // Shards of 2,048 features, and so few rows that a chunk has as many.
    let (in_shards, few_rows) =
        (gpu().with_max_binding_bytes(2048 * 16 * 4), Recipe { batch: 16, ..recipe(FEATURES, 3) });
    let ways = [
        ("chunked", chunked(config(FEW))),
        ("in shards", Way { gpu: in_shards, recipe: few_rows, ..chunked(config(FEATURES)) }),
        ("grouped", Way::new(config(FEW), SelectionMethod::Grouped { group })),
        ("screened", Way { mode: ScreenMode::Optimistic { groups: 60 }, ..Way::new(config(FEW), screened(60)) }),
        ("uncertain", Way::new(config(FEW), screened(8))),
        ("not screened", Way { mode: ScreenMode::Off, ..Way::new(config(FEW), screened(60)) }),
        ("dead", Way { recipe: dying, ..chunked(with_dead) }),
        ("batch", chunked(of(BatchTopK::new(7).into()))),
        ("admitted", chunked(of(relu.into()))),
    ];
    for (name, way) in ways {
        let (results, state, chunks) = way.take_all(0);
        assert_eq!(results.iter().any(|results| results.uncertain_rows > 0), name == "uncertain", "{name}");
        for times in [1, 10] {
            let (halved_results, halved_state, halved_chunks) = way.take_all(times);
            assert!(halved_chunks > chunks, "{name}: {chunks} chunks, then {halved_chunks}");
            assert_eq!(halved_results, results, "{name}, halved {times} times");
            assert!(halved_state == state, "{name}: the states differ, halved {times} times");
        }
    }
}

#[test]
fn chunks_that_are_measured_to_take_long_are_halved() {
    if !gpu().description().timestamps {
        return println!("not tested: {} has no timestamps", gpu().description());
    }
    let way = Way::new(config(FEW), SelectionMethod::Chunked);
    let batch = &batches(3, 1)[0];
    let chunks = [f64::INFINITY, 1e-9].map(|seconds| {
        let mut step = way.start(batch);
        step.halve_chunks_by_time(seconds);
        let mut chunks = Vec::new();
        // The 17th is the last that is timed.
        for _ in 0..4 {
            for _ in 0..6 {
                let input = StepInput { rows: batch.rows.view(), learning_rate: 1e-3 };
                let pending = step.submit(&way.gpu, input).unwrap();
                step.results(&way.gpu, pending).unwrap();
            }
            chunks.push(way.take(&mut step, batch).1);
        }
        chunks
    });
    assert_eq!(chunks, [[1, 1, 1, 1], [1, 1, 3, 3]]);
}
