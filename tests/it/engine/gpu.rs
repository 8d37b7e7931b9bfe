//! The device layer: what it refuses, how its results come back, and how busy it is kept.

use monosem::Error;
use monosem::apply::{Encoder, Evaluator};
use monosem::data::Batch;
use monosem::gpu::shaders::{Step, activity, norms};
use monosem::gpu::{
    Bind, Binding, BindingKind, Buffer, Entry, EntryPoint, Gpu, LayoutEntry, Recording, Slot, Source, Span, grid,
};
use monosem::sae::SaeConfig;
use monosem::sae::description::Inference;
use monosem::selftest::gate::copied_if;
use monosem::selftest::tensors::{POISON, Tensor, random, submit};
use monosem::train::{Recipe, Trainer, initialize};

use crate::engine::training::{BATCH, D, batches, config, recipe};
use crate::kernels::gpu;

/// A shader that is not one of the project's.
enum Foreign<const BROKEN: bool> {}

struct Nothing;

impl Bind for Nothing {
    fn bindings(&self) -> Vec<(u32, Binding<'_>)> {
        Vec::new()
    }
}

impl<const BROKEN: bool> EntryPoint for Foreign<BROKEN> {
    type Bindings<'a> = Nothing;
    const SOURCE: Source = Source {
        name: "foreign",
        text: if BROKEN { "@compute @workgroup_size(1) fn main() { let x: u32 = 1.5; }" } else { "#for i in 0..2" },
        around_entry: None,
    };
    const NAME: &'static str = "main";
    const WORKGROUP: [u32; 3] = [1, 1, 1];
    const LAYOUT: &'static [LayoutEntry] = &[];
}

#[test]
fn a_refused_shader_is_named() {
    let refusals = [gpu().pipeline::<Foreign<true>>(&[]).err(), gpu().pipeline::<Foreign<false>>(&[]).err()];
    let undefined = gpu().pipeline::<activity::main::Kernel>(&[("NO_SUCH_NAME", 1)]).err();
    for (refusal, name, word) in [
        (&refusals[0], "foreign.main", "u32"),
        (&refusals[1], "foreign.main", "#for without #end"),
        (&undefined, "activity.main", "NO_SUCH_NAME"),
    ] {
        let Some(Error::Shader { shader, message }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(shader, name);
        assert!(message.contains(word), "{message}");
    }
    // The device works on.
    gpu().wait().unwrap();
}

#[test]
fn a_buffer_beyond_the_largest_binding_is_refused() {
    let limited = gpu().with_max_binding_bytes(4096);
    assert_eq!(limited.buffer("fits", 1024).unwrap().bytes(), 4096);
    let Err(Error::BindingTooLarge { what, bytes: 4100, limit: 4096 }) = limited.buffer("a large one", 1025) else {
        panic!("it was made")
    };
    assert_eq!(what, "a large one");
}

#[test]
fn results_come_back_in_the_order_they_were_asked_for() {
    let first = gpu().buffer_from("first", &[1_u32, 2, 3]).unwrap();
    let second = gpu().buffer_from("second", &[4.5_f32; 6]).unwrap();
    let copy = gpu().buffer("copy", 4).unwrap();
    let mut recording = Recording::default();
    recording.copy(&first, &copy);
    recording.clear(&first);
    let program = gpu().program(recording).unwrap();
    let pending: Vec<_> = (0..5).map(|_| gpu().submit_and_read(&program, &[&second, &copy, &first]).unwrap()).collect();
    for (run, pending) in pending.into_iter().enumerate() {
        let results = pending.wait(gpu()).unwrap();
        assert_eq!(results.get::<f32>(0), [4.5; 6]);
        // The second run copies what the first has cleared.
        assert_eq!(results.get::<u32>(1), if run == 0 { [1, 2, 3, 0] } else { [0; 4] });
        assert_eq!(results.get::<u32>(2), [0; 4]);
    }
}

#[test]
fn ranges_are_copied_and_cleared() {
    let source = gpu().buffer_from("source", &[1_u32, 2, 3, 4, 5, 6]).unwrap();
    let target = gpu().buffer_from("target", &[9_u32; 6]).unwrap();
    let mut recording = Recording::default();
    recording.copy_range(&source, 8, &target, 4, 12);
    recording.clear_range(&target, 8..12);
    gpu().submit(&gpu().program(recording).unwrap()).unwrap();
    assert_eq!(gpu().read::<u32>(&target).unwrap(), [9, 3, 0, 5, 9, 9]);
}

#[test]
fn a_uniform_may_be_a_slot_of_a_buffer() {
    let steps = [Step { number: 10, ..Step::default() }, Step { number: 20, ..Step::default() }];
    let slots = gpu().buffer("steps", 64 + size_of::<Step>() as u64 / 4).unwrap();
    gpu().upload(&slots, 0, &steps[..1]);
    gpu().upload(&slots, 256, &steps[1..]);
    let planes = [("LAST_FIRED", 0), ("RUN", 1), ("FIRED", 1), ("FLAWED", 1), ("NORM", 1)];
    let kernel = gpu().pipeline::<activity::main::Kernel>(&planes).unwrap();
    let scalars = gpu().buffer_from("scalars", &[0_u32, 5, 9, 10, 0, 0, 0, 0]).unwrap();
    let guard = gpu().buffer("guard", 2).unwrap();
    for (slot, expected) in [(Slot::from(&slots), 2), (Slot { buffer: &slots, offset: 256 }, 4)] {
        let dead = gpu().buffer("dead", 1).unwrap();
        let params = activity::Params { count: 4, window: 5 };
        let bindings = activity::main::Bindings { scalars: &scalars, dead: &dead, guard: &guard, step: slot, params };
        let mut recording = Recording::default();
        recording.run(&kernel, bindings);
        gpu().submit(&gpu().program(recording).unwrap()).unwrap();
        assert_eq!(gpu().read::<u32>(&dead).unwrap()[0], expected);
    }
}

#[test]
fn a_condition_may_be_any_word() {
    let conditions = gpu().buffer_from("conditions", &[1_u32, 0, 7, 0]).unwrap();
    let w_dec = gpu().buffer_from("W_dec", &[2.0_f32; 16]).unwrap();
    let scalars = gpu().buffer("scalars", 4).unwrap();
    let kernel = gpu().pipeline::<norms::main::Kernel>(&[("NORM", 0)]).unwrap();
    for (word, expected) in [(0, 8.0), (1, 0.0), (2, 8.0), (3, 0.0)] {
        let mut recording = Recording::default();
        recording.clear(&scalars);
        recording.only_if(Slot { buffer: &conditions, offset: 4 * word }, |recording| {
            let params = norms::Params { count: 1, quads: 4, one: 1.0 };
            recording.run(&kernel, norms::main::Bindings { w_dec: &w_dec, scalars: &scalars, params });
        });
        gpu().submit(&gpu().program(recording).unwrap()).unwrap();
        assert_eq!(gpu().read::<f32>(&scalars).unwrap()[0], expected, "word {word}");
    }
}

/// A shader whose default entry uses fewer bindings than another.
struct Entered;

const AROUND_ENTRY: [&str; 2] = [
    "@group(0) @binding(0) var<storage, read_write> written: array<u32>;
     @group(0) @binding(1) var<storage, read> given: array<u32>;\n",
    "@compute @workgroup_size(1) fn main() { written[0] = f(); }",
];

impl EntryPoint for Entered {
    type Bindings<'a> = WrittenAndGiven<'a>;
    const SOURCE: Source = Source {
        name: "entered",
        text: "@group(0) @binding(0) var<storage, read_write> written: array<u32>;
               fn f() -> u32 { return 1u; }
               @compute @workgroup_size(1) fn main() { written[0] = f(); }",
        around_entry: Some(AROUND_ENTRY),
    };
    const NAME: &'static str = "main";
    const WORKGROUP: [u32; 3] = [1, 1, 1];
    const LAYOUT: &'static [LayoutEntry] = &[
        LayoutEntry { binding: 0, kind: BindingKind::Storage },
        LayoutEntry { binding: 1, kind: BindingKind::ReadOnlyStorage },
    ];
}

struct WrittenAndGiven<'a>([&'a Buffer; 2]);

impl Bind for WrittenAndGiven<'_> {
    fn bindings(&self) -> Vec<(u32, Binding<'_>)> {
        (0..).zip(self.0.map(Binding::Buffer)).collect()
    }
}

#[test]
fn another_entry_takes_the_place_of_the_default_one() {
    let entry = Entry { name: "given", text: "#define N 6\nfn f() -> u32 { return given[0] + ${N+1}u; }\n" };
    for (pipeline, expected) in
        [(gpu().pipeline::<Entered>(&[]), 1), (gpu().pipeline_with_entry::<Entered>(entry, &[("N", 8)]), 109)]
    {
        let (written, given) = (gpu().buffer("written", 4).unwrap(), gpu().buffer_from("given", &[100_u32]).unwrap());
        let mut recording = Recording::default();
        recording.dispatch(&pipeline.unwrap(), WrittenAndGiven([&written, &given]), [1, 1, 1]);
        gpu().submit(&gpu().program(recording).unwrap()).unwrap();
        assert_eq!(gpu().read::<u32>(&written).unwrap()[0], expected);
    }
    let Err(Error::Shader { message, .. }) = gpu().pipeline_with_entry::<norms::main::Kernel>(entry, &[]) else {
        panic!("norms takes no entry")
    };
    assert_eq!(message, "it has no place for the entry given");
}

#[test]
fn memory_is_accounted_by_part() {
    let gpu = gpu().with_max_binding_bytes(u64::MAX);
    let codes = gpu.for_part("codes");
    let (first, second) = (codes.buffer("a", 8).unwrap(), codes.buffer("b", 16).unwrap());
    let other = gpu.buffer("a", 4).unwrap();
    assert_eq!(gpu.memory(), [("codes", 96), ("other", 16)].into());
    drop((first, other));
    assert_eq!(gpu.memory(), [("codes", 64)].into());
    assert_eq!((second.part(), second.name()), ("codes", "b"));
}

#[test]
fn a_result_is_ready_without_being_waited_for() {
    let buffer = gpu().buffer_from("buffer", &[7_u32; 4]).unwrap();
    let pending = gpu().submit_and_read(&gpu().program(Recording::default()).unwrap(), &[&buffer]).unwrap();
    gpu().wait().unwrap();
    assert!(pending.is_ready(gpu()).unwrap());
    assert_eq!(pending.wait(gpu()).unwrap().get::<u32>(0), [7; 4]);
}

/// What the host does between two steps, the device has no need to wait for.
#[test]
fn two_steps_are_under_way_whenever_the_one_before_was_waited_for() {
    const STEPS: u64 = 12;
    let gpu = gpu().slowest();
    let (config, batches) = (config(200), batches(1, STEPS));
    let initial = initialize(&config, 1, &batches[0].rows.to_f32()).unwrap();
    let mut trainer = Trainer::new(&gpu, &initial, recipe(200, STEPS)).unwrap();
    let steps = batches.iter().map(|batch| {
        let finished = trainer.step(batch).unwrap().map(|progress| progress.step);
        (finished, gpu.results_under_way().unwrap())
    });
    let steps: Vec<_> = steps.collect();
    // The times of the first step are a result as well.
    for (submitted, step) in (1..).zip(steps).skip(2) {
        assert_eq!(step, (Some(submitted - 2), 2), "finished and under way after step {submitted} was submitted");
    }
}

#[test]
fn a_batch_is_under_way_whenever_the_one_before_is_encoded() {
    let (gpu, batches) = (gpu().slowest(), batches(1, 12));
    let initial = initialize(&config(200), 1, &batches[0].rows.to_f32()).unwrap();
    let mut encoder = Encoder::new(&gpu, &initial, BATCH).unwrap();
    let batches = batches.iter().map(|batch| {
        let finished = encoder.submit(batch.rows.view()).unwrap();
        (finished.is_some(), gpu.results_under_way().unwrap())
    });
    let batches: Vec<_> = batches.collect();
    for (submitted, batch) in (1..).zip(batches).skip(1) {
        assert_eq!(batch, (true, 1), "finished and under way after batch {submitted} was submitted");
    }
}

/// Runs `batch` more often than a program's runs are timed, and asserts that it makes nothing from then on.
fn assert_makes_nothing(gpu: &Gpu, what: &str, mut batch: impl FnMut(&Batch)) {
    let batches = batches(1, 22);
    let (first, later) = batches.split_at(18);
    first.iter().for_each(&mut batch);
    let before = gpu.made();
    later.iter().for_each(&mut batch);
    assert_eq!(gpu.made(), before, "{what}");
}

#[test]
fn batches_make_no_program_no_pipeline_and_no_buffer() {
    const FEATURES: usize = 200;
    let gpu = gpu().with_max_binding_bytes(u64::MAX);
    for config in SaeConfig::examples(D, FEATURES) {
        let name = format!("{:?}", config.architecture);
        let initial = initialize(&config, 1, &batches(1, 1)[0].rows.to_f32()).unwrap();
        let recipe = Recipe { dead_window: 1000, ..recipe(FEATURES, 22) };
        let mut trainer = Trainer::new(&gpu, &initial, recipe).unwrap();
        assert_makes_nothing(&gpu, &format!("a step of {name}"), |batch| drop(trainer.step(batch).unwrap()));
        if config.describe().inference == Inference::Threshold {
            continue;
        }
        let mut encoder = Encoder::new(&gpu, &initial, BATCH).unwrap();
        assert_makes_nothing(&gpu, &format!("codes of {name}"), |batch| {
            encoder.submit(batch.rows.view()).unwrap();
        });
        let mut evaluator = Evaluator::new(&gpu, &initial, BATCH).unwrap();
        assert_makes_nothing(&gpu, &format!("an evaluation of {name}"), |batch| {
            evaluator.add(batch, |_| None).unwrap();
        });
    }
}

#[test]
fn every_dispatch_is_timed_where_the_device_can() {
    if !gpu().description().timestamps {
        println!("{} has no timestamps: not tested", gpu().description());
        return;
    }
    let kernel = gpu().pipeline::<norms::main::Kernel>(&[("NORM", 0)]).unwrap();
    let (w_dec, scalars) = (gpu().buffer("W_dec", 64 * 16).unwrap(), gpu().buffer("scalars", 64).unwrap());
    let mut recording = Recording::default();
    for count in [64, 0, 32] {
        let params = norms::Params { count, quads: 4, one: 1.0 };
        recording.run(&kernel, norms::main::Bindings { w_dec: &w_dec, scalars: &scalars, params });
    }
    let timed = gpu().profile(&gpu().program(recording).unwrap()).unwrap();
    // A dispatch of no rows is still one workgroup that finds nothing to do.
    assert_eq!(timed.len(), 3);
    let is_sound = |span: &Span| &*span.kernel == "norms.main" && (0.0..10.0).contains(&span.seconds());
    assert!(timed.iter().all(is_sound), "{timed:?}");
}

#[test]
fn large_dispatches_are_folded_into_two_dimensions() {
    for (groups, expected) in
        [(0, [1, 1, 1]), (1, [1, 1, 1]), (4096, [4096, 1, 1]), (4097, [4096, 2, 1]), (65_535 << 12, [4096, 65_535, 1])]
    {
        assert_eq!(grid(groups), expected);
    }
}

#[test]
fn a_section_runs_only_if_its_condition_holds() {
    let values = random(1, 4 * 200);
    for (condition, sections) in [(0, 3), (1, 1), (7, 100)] {
        let expected = if condition == 0 { vec![0.0; values.len()] } else { values.clone() };
        for target in copied_if(gpu(), condition, &values, sections).unwrap() {
            assert_eq!(target, expected, "condition {condition}");
        }
    }
    assert_eq!(copied_if(gpu(), 1, &values, 0).unwrap(), Vec::<Vec<f32>>::new());
}

/// A shader that does not bound its index.
struct Unbounded;

struct Words<'a> {
    words: &'a Buffer,
    found: &'a Buffer,
}

impl Bind for Words<'_> {
    fn bindings(&self) -> Vec<(u32, Binding<'_>)> {
        vec![(0, Binding::Buffer(self.words)), (1, Binding::Buffer(self.found))]
    }
}

impl EntryPoint for Unbounded {
    type Bindings<'a> = Words<'a>;
    const SOURCE: Source = Source {
        name: "unbounded",
        text: "@group(0) @binding(0) var<storage, read> words: array<u32>;
               @group(0) @binding(1) var<storage, read_write> found: array<u32>;
               @compute @workgroup_size(1) fn main() { found[0] = words[words[0]]; }",
        around_entry: None,
    };
    const NAME: &'static str = "main";
    const WORKGROUP: [u32; 3] = [1, 1, 1];
    const LAYOUT: &'static [LayoutEntry] = &[
        LayoutEntry { binding: 0, kind: BindingKind::ReadOnlyStorage },
        LayoutEntry { binding: 1, kind: BindingKind::Storage },
    ];
}

/// What tests/portability/bounds must see reported.
#[test]
#[ignore = "reads out of bounds"]
fn a_read_past_the_end() {
    let (words, found) = (Tensor::new(gpu(), &[8_u32; 8]).unwrap(), Tensor::new(gpu(), &[0_u32]).unwrap());
    let pipeline = gpu().pipeline::<Unbounded>(&[]).unwrap();
    submit(gpu(), |recording| {
        recording.dispatch(&pipeline, Words { words: &words, found: &found }, [1, 1, 1]);
    })
    .unwrap();
    assert_eq!(found.read::<u32>().unwrap(), [POISON], "the driver checks bounds all the same");
}
