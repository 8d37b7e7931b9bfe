//! The device layer: what it refuses, and how its results come back.

use monosem::Error;
use monosem::gpu::shaders::{activity, norms};
use monosem::gpu::{Bind, Binding, EntryPoint, Recording, Source, Span, grid};
use monosem::kernels::Norms;

use monosem::selftest::gate::copied_if;
use monosem::selftest::tensors::random;

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
    };
    const NAME: &'static str = "main";
    const WORKGROUP: [u32; 3] = [1, 1, 1];
}

#[test]
fn a_refused_shader_is_named() {
    let refusals = [gpu().pipeline::<Foreign<true>>(&[]).err(), gpu().pipeline::<Foreign<false>>(&[]).err()];
    let undefined = gpu().pipeline::<activity::record::Kernel>(&[("NO_SUCH_NAME", 1)]).err();
    for (refusal, name, word) in [
        (&refusals[0], "foreign.main", "u32"),
        (&refusals[1], "foreign.main", "#for without #end"),
        (&undefined, "activity.record", "NO_SUCH_NAME"),
    ] {
        let Some(Error::Shader { shader, message }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(shader, name);
        assert!(message.contains(word), "{message}");
    }
    // The device goes on.
    gpu().wait().unwrap();
}

#[test]
fn a_buffer_beyond_the_largest_binding_is_refused() {
    let limited = gpu().with_max_binding_bytes(4096);
    assert_eq!(limited.buffer("fits", 1024).unwrap().bytes(), 4096);
    let Err(Error::Config(message)) = limited.buffer("a large one", 1025) else { panic!("it was made") };
    assert!(message.starts_with("a large one would take 4100 bytes"), "{message}");
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
fn a_result_is_ready_without_being_waited_for() {
    let buffer = gpu().buffer_from("buffer", &[7_u32; 4]).unwrap();
    let pending = gpu().submit_and_read(&gpu().program(Recording::default()).unwrap(), &[&buffer]).unwrap();
    gpu().wait().unwrap();
    assert!(pending.is_ready(gpu()).unwrap());
    assert_eq!(pending.wait(gpu()).unwrap().get::<u32>(0), [7; 4]);
}

#[test]
fn every_dispatch_is_timed_where_the_device_can() {
    if !gpu().description().timestamps {
        println!("{} has no timestamps: not tested", gpu().description());
        return;
    }
    let kernel = Norms::new(gpu()).unwrap();
    let (w_dec, norms) = (gpu().buffer("W_dec", 64 * 16).unwrap(), gpu().buffer("norms", 64).unwrap());
    let mut recording = Recording::default();
    for count in [64, 0, 32] {
        let params = norms::Params { count, quads: 4 };
        kernel.record(&mut recording, norms::main::Bindings { w_dec: &w_dec, norms: &norms, params });
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
        [(0, [1, 1, 1]), (1, [1, 1, 1]), (65_535, [65_535, 1, 1]), (65_536, [32_768, 2, 1]), (131_071, [43_691, 3, 1])]
    {
        assert_eq!(grid(groups), expected);
    }
    for groups in [1 << 20, (1 << 31) + 7] {
        let [columns, rows, _] = grid(groups).map(u64::from);
        assert!(columns <= 65_535 && rows <= 65_535 && columns * rows >= groups);
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
