//! Plans against what is then allocated, and `monosem plan`.

use monosem::Error;
use monosem::adapters::{AdapterChoice, AdapterDescription, DeviceMemory};
use monosem::engine::select::{Screening, SelectionMethod, Tuning};
use monosem::engine::state::{StateSink, Tile};
use monosem::gpu::Gpu;
use monosem::measure::{Plan, check_fits, most_features};
use monosem::sae::{AuxKForm, SaeConfig};
use monosem::train::{MomentPrecision, Recipe, Trainer, initialize};
use serde_json::Value;

use crate::engine::training::{BATCH, D, batches, config, recipe, with_auxk};
use crate::kernels::gpu;
use crate::program::cli::{Files, fail, succeed};

/// Forgets what it is given.
struct Nowhere;

impl StateSink for Nowhere {
    fn offer(&mut self, _: Tile) -> monosem::Result<Option<Tile>> {
        Ok(None)
    }

    fn put(&mut self, _: Tile) -> monosem::Result<()> {
        Ok(())
    }
}

#[test]
fn a_plan_is_what_a_run_allocates_to_the_byte() {
    // One shard and a part of a block; shards of one block and of two; as many features as active ones.
    for (features, max_binding_bytes, shards, screening, auxk) in [
        (5000, u64::MAX, 1, Screening::F32, None),
        (7000, 64 << 10, 7, Screening::F32, Some(AuxKForm::Normalised)),
        (7, u64::MAX, 1, Screening::F32, Some(AuxKForm::SaeLens)),
        (5000, u64::MAX, 1, Screening::F16, Some(AuxKForm::SaeLens)),
        (7000, 160 << 10, 4, Screening::F16, None),
    ] {
        let gpu = gpu().with_max_binding_bytes(max_binding_bytes);
        let moments = if features == 5000 { MomentPrecision::Bf16 { seed: 1 } } else { MomentPrecision::F32 };
        let plain = (config(features), Recipe { moments, ..recipe(features, 6) });
        let (config, recipe) = match auxk {
            None => plain,
            Some(form) => with_auxk(form, plain.0, plain.1),
        };
        let tuning = Tuning::estimated(gpu.description(), &config, BATCH, screening);
        let is_screened = matches!(tuning.method, SelectionMethod::Screened { .. });
        assert_eq!(is_screened, screening == Screening::F16, "{}", tuning.method);
        let plan = Plan::new(gpu.description(), &config, &recipe, screening).unwrap();
        assert_eq!(plan.shards, shards);
        assert_eq!(plan.device.contains_key("auxiliary loss"), auxk.is_some());

        let batches = batches(1, 6);
        let mut trainer =
            Trainer::with_tuning(&gpu, &initialize(&config, 1, &batches[0].rows.to_f32()).unwrap(), recipe, tuning)
                .unwrap();
        for (number, batch) in batches.iter().enumerate() {
            match number {
                3 => trainer.step_and_copy(batch, &mut Nowhere).unwrap(),
                _ => trainer.step(batch).unwrap(),
            };
        }
        trainer.copy_state(&mut Nowhere).unwrap();
        while trainer.next_finished().unwrap().is_some() {}
        let allocated: u64 = gpu.memory().values().sum();
        assert_eq!(plan.device_bytes(), allocated, "{:?} and {:?}", plan.device, gpu.memory());
        drop(trainer);
        // Staging of results is kept for whoever is next.
        assert_eq!(gpu.memory().into_keys().collect::<Vec<_>>(), ["readback"]);
    }
}

#[test]
fn the_allocator_has_taken_what_was_planned() {
    let gpu = Gpu::open(&AdapterChoice::Best).unwrap();
    let features = 1_250_000_000 / (24 * 384);
    let config = SaeConfig { d_in: 384, features, ..config(features) };
    let recipe = Recipe::top_k(features, 64, 10);
    let planned = Plan::new(gpu.description(), &config, &recipe, Screening::Auto).unwrap().device_bytes();
    assert!(planned > 1 << 30, "{planned}");
    let before = gpu.reserved_bytes();
    let rows = vec![0.5; 64 * 384];
    let _trainer = Trainer::new(&gpu, &initialize(&config, 0, &rows).unwrap(), recipe).unwrap();
    let (Some(before), Some(reserved)) = (before, gpu.reserved_bytes()) else {
        println!("{} does not tell: not tested", gpu.description());
        return;
    };
    let ratio = (reserved - before) as f64 / planned as f64;
    assert!((0.97..1.03).contains(&ratio), "planned {planned}, reserved {reserved} after {before}");
}

fn with_memory(available: u64) -> AdapterDescription {
    AdapterDescription {
        kind: "discrete",
        max_binding_bytes: (1 << 31) - 4,
        memory: Some(DeviceMemory { available, source: "a test" }),
        ..AdapterDescription::default()
    }
}

#[test]
fn what_cannot_fit_is_refused_with_the_way_out() {
    let large = SaeConfig { d_in: 768, features: 1 << 25, ..config(1 << 25) };
    let recipe = Recipe::top_k(large.features, 4096, 1000);
    let description = with_memory(80 << 30);
    let plan = Plan::new(&description, &large, &recipe, Screening::Auto).unwrap();
    // Two matrices with two moments each, in f32.
    assert!(plan.device_bytes() > (24 * 768) << 25);
    assert_eq!(plan.devices_needed(80 << 30), Some(8));
    assert_eq!(plan.devices_needed(1 << 20), None);
    let Err(Error::Device(message)) = check_fits(&description, &large, &recipe, Screening::Auto) else {
        panic!("it does not fit")
    };

    let most = most_features(&description, &large, &recipe, Screening::Auto, 80 << 30).unwrap();
    assert!(message.contains(&format!("at most {most} features")), "{message}");
    let at = |features| SaeConfig { features, ..large.clone() };
    check_fits(&description, &at(most), &recipe, Screening::Auto).unwrap();
    check_fits(&description, &at(most + 1024), &recipe, Screening::Auto).unwrap_err();
    check_fits(&AdapterDescription { memory: None, ..description }, &large, &recipe, Screening::Auto).unwrap();
    check_fits(&with_memory(1 << 20), &at(1024), &recipe, Screening::Auto).unwrap_err();
}

#[test]
fn a_plan_is_printed_for_people_and_for_programs() {
    let files = Files::new();
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&succeed(&[&["plan", "--json"], arguments].concat())).unwrap()
    };
    let here = json(&["--data", &files.data, "--features", "3000", "--k", "4", "--batch", "64"]);
    assert_eq!((here["fits"].as_bool(), here["d_in"].as_u64()), (Some(true), Some(10)));
    let parts = here["device_bytes_by_part"].as_object().unwrap();
    assert_eq!(parts.values().map(|bytes| bytes.as_u64().unwrap()).sum::<u64>(), here["device_bytes"]);
    if gpu().description().timestamps {
        assert!(here["seconds_per_step"].as_f64().unwrap() > 0.0);
        // Half of all features are active at first, or as few as usual.
        let sizes = ["--d", "24", "--features", "2048", "--batch", "512", "--arch", "relu", "--l1", "1"];
        let dense = json(&[&sizes[..], &["--init-threshold", "0"]].concat());
        assert!(dense["seconds_per_first_step"].as_f64().unwrap() > 0.0);
        assert_eq!(
            [&dense["first_step_by_slabs"], &json(&sizes)["seconds_per_first_step"]],
            [&true.into(), &Value::Null]
        );
    }

    let assumed = ["--d", "768", "--features", "33554432", "--assume-memory", "80GiB"];
    let there = json(&assumed);
    assert_eq!(there["available_bytes"], 80_u64 << 30);
    assert_eq!((there["fits"].as_bool(), there["devices_needed"].as_u64()), (Some(false), Some(8)));
    assert!(there["seconds_per_step"].is_null());
    let words = succeed(&[&["plan"][..], &assumed].concat());
    assert!(words.contains("such devices needed") && words.contains("not measured"), "{words}");

    let train = ["train", "--data", &files.data, "--features", "4000000000", "--steps", "1", "--out"];
    if gpu().description().memory.is_some() {
        fail(&[&train[..], &[&files.path("run")]].concat(), 4, "take at most");
    }
    fail(&["plan", "--features", "10"], 2, "--d");
    fail(&["plan", "--d", "8"], 2, "--expansion");
    fail(&["plan", "--d", "8", "--features", "64", "--assume-memory", "lots"], 2, "80GiB");
    for d in ["1048577", "4294967296", "17179869184", "2305843009213693952"] {
        fail(&["plan", "--d", d, "--features", "1", "--k", "1", "--assume-memory", "80GiB"], 2, "at most 2^20");
    }
}

#[test]
fn a_dry_run_computes_nothing() {
    let dry = Gpu::dry_run(gpu().description().clone());
    let buffer = dry.buffer_from("values", &[1.0_f32; 8]).unwrap();
    assert_eq!(dry.memory().values().sum::<u64>(), 32);
    assert!(matches!(dry.read::<f32>(&buffer), Err(Error::Device(_))));
    assert!(matches!(dry.wait(), Err(Error::Device(_))));
    let (config, batch) = (config(100), &batches(1, 1)[0]);
    let initial = initialize(&config, 1, &vec![0.0; BATCH * D]).unwrap();
    let refused = Trainer::new(&dry, &initial, recipe(100, 6)).and_then(|mut trainer| trainer.step(batch));
    assert!(matches!(refused, Err(Error::Device(_))));
}
