//! The kernels that are chosen by measurement: no result depends on them, and the cache of the command line.

use std::process::Output;

use monosem::engine::select::{Screening, SelectionMethod, SelectionShape, Tuning};
use monosem::gpu::Gpu;
use monosem::kernels::EncodeVariant;
use monosem::measure::{autotune, autotune_pays};
use monosem::sae::SaeConfig;
use monosem::train::{Recipe, Trainer, initialize};
use serde_json::Value;

use crate::engine::training::{BATCH, batches, config, hash, recipe, trained};
use crate::kernels::gpu;
use crate::program::cli::{Files, command};

/// The hash of a small SAE after a few steps with some kernels.
fn hash_with(tuning: Tuning) -> String {
    let features = 3000;
    let initial = initialize(&config(features), 3, &batches(3, 1)[0].rows.to_f32()).unwrap();
    let mut trainer = Trainer::with_tuning(gpu(), &initial, recipe(features, 3), tuning).unwrap();
    for batch in batches(3, 3) {
        trainer.step(&batch).unwrap();
    }
    while trainer.next_finished().unwrap().is_some() {}
    hash(&trained(&trainer))
}

#[test]
fn every_shape_ends_with_the_same_bits() {
    let description = gpu().description();
    let usual = hash_with(Tuning::estimated(description, &config(3000), BATCH, Screening::Auto));
    let shape = SelectionShape::new(&config(3000), BATCH);
    // Each shape with one of the methods, in turn.
    for (number, encode) in EncodeVariant::available(description).into_iter().take(5).enumerate() {
        let methods = SelectionMethod::available(description, encode, Screening::Auto, shape);
        let tuning = Tuning { encode, method: methods[(number + 1) % methods.len()] };
        assert_eq!(hash_with(tuning), usual, "{tuning}");
    }
}

#[test]
fn what_is_measured_to_be_fastest_ends_with_the_same_bits_and_leaves_nothing() {
    let gpu = gpu().with_max_binding_bytes(u64::MAX);
    let description = gpu.description();
    // A part of the features is measured, and the line continued.
    let large = SaeConfig { d_in: 100, ..config(1 << 20) };
    let recipe = Recipe::top_k(large.features, 256, 1_000_000);
    let tuning = autotune(&gpu, &large, &recipe, Screening::Auto).unwrap();
    println!("{tuning}");
    assert_eq!(gpu.memory().values().sum::<u64>(), 0, "{:?}", gpu.memory());
    assert_eq!(autotune_pays(description, &large, &recipe), description.timestamps);
    let (encode, method) = (tuning.encode.to_string(), tuning.method.to_string());
    let shape = SelectionShape::new(&large, 256);
    assert_eq!(Tuning::named(description, Screening::Auto, shape, [&encode, &method]), Some(tuning));
    assert_eq!(Tuning::named(description, Screening::Auto, shape, ["tiled-1x1x1", &method]), None);
    assert_eq!(hash_with(tuning), hash_with(Tuning::estimated(description, &config(3000), BATCH, Screening::Auto)));

    let usual = Tuning::estimated(description, &large, 256, Screening::Auto);
    assert_eq!(autotune(&Gpu::dry_run(description.clone()), &large, &recipe, Screening::Auto).unwrap(), usual);
    let screened = autotune(&gpu, &SaeConfig { features: 5000, ..large.clone() }, &recipe, Screening::F16).unwrap();
    assert!(matches!(screened.method, SelectionMethod::Screened { .. }), "{screened}");
    assert!(!autotune_pays(description, &config(100), &recipe), "a step is too short");
    assert!(!autotune_pays(description, &large, &Recipe { steps: 1, ..recipe }), "a run is too short");
}

const SIZES: [&str; 6] = ["--features", "65536", "--k", "4", "--batch", "500"];

struct Cache(tempfile::TempDir);

impl Cache {
    fn run(&self, arguments: &[&str]) -> Output {
        let arguments = [arguments, &SIZES, &["--device", "cpu", "--json"]].concat();
        let output = command(&arguments).env("MONOSEM_CACHE_DIR", self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("tuning.json")
    }
}

fn last_line(output: &Output) -> Value {
    serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_measurement_is_remembered() {
    if !gpu().description().takes_cpu_kernels() || !gpu().description().timestamps {
        println!("skipped: {} is not measured as software is", gpu().description());
        return;
    }
    let cache = Cache(tempfile::tempdir().unwrap());
    let bench = ["bench", "--d", "10", "--repeats", "1", "--kernel", "update"];
    let unmeasured = cache.run(&[&bench[..], &["--no-autotune"]].concat());
    assert!(!words(&unmeasured).contains("tuned") && !cache.file().exists());
    let usual = &last_line(&unmeasured)["encode"];
    assert_eq!(*usual, EncodeVariant::best(gpu().description()).to_string());

    let measured = cache.run(&bench);
    let told = words(&measured);
    let line = told.lines().find(|line| line.starts_with("tuned in ")).unwrap_or_else(|| panic!("{told}"));
    let encode = last_line(&measured)["encode"].as_str().unwrap().to_owned();
    assert!(line.contains(&encode), "{line}");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(cache.file()).unwrap()).unwrap();
    assert_eq!((kept.as_array().unwrap().len(), &kept[0]["encode"]), (1, &encode.into()));
    assert_eq!(std::fs::read_dir(cache.0.path()).unwrap().count(), 1);

    // What is remembered is taken, whatever it is, by what foretells a run of these sizes and by the run.
    let other = EncodeVariant::available(gpu().description()).into_iter().find(|variant| !variant.is_usual());
    let other = other.unwrap().to_string();
    kept[0]["encode"] = other.clone().into();
    std::fs::write(cache.file(), kept.to_string()).unwrap();
    assert_eq!(last_line(&cache.run(&["plan", "--d", "10"]))["encode"], other);
    let files = Files::new();
    let train = |name: &str, more: &[&str]| {
        let out = files.path(name);
        let output = cache.run(&[&["train", "--data", &files.data, "--steps", "2", "--out", &out], more].concat());
        assert!(!words(&output).contains("tuned in"), "{}", words(&output));
        let record: Value = serde_json::from_slice(&std::fs::read(format!("{out}/run.json")).unwrap()).unwrap();
        (record["encode"].clone(), std::fs::read(format!("{out}/sae/sae_weights.safetensors")).unwrap())
    };
    let (tuned, plain) = (train("tuned", &[]), train("plain", &["--no-autotune"]));
    assert_eq!((tuned.0, &plain.0), (other.into(), usual));
    assert!(tuned.1 == plain.1, "the SAE depends on the kernels");
    let config = std::fs::read_to_string(files.directory.path().join("tuned/config.toml")).unwrap();
    assert!(!config.contains("autotune") && !config.contains("subgroup"), "{config}");
}

#[test]
fn a_cache_that_cannot_be_read_is_told_of_once_and_not_used() {
    let cache = Cache(tempfile::tempdir().unwrap());
    let told = |cache: &Cache| {
        let sizes = ["plan", "--d", "10", "--features", "64", "--k", "4", "--batch", "10"];
        let output = command(&sizes).env("MONOSEM_CACHE_DIR", cache.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        words(&output).lines().filter(|line| line.contains("tuning.json")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told(&cache), [""; 0]);
    for damaged in ["", "[", "{}", "[{\"adapter\": 1}]", "\u{0}"] {
        std::fs::write(cache.file(), damaged).unwrap();
        let lines = told(&cache);
        assert!(lines.len() == 1 && lines[0].contains("is damaged"), "{lines:?}");
    }
    std::fs::remove_file(cache.file()).unwrap();
    std::fs::create_dir(cache.file()).unwrap();
    assert!(told(&cache)[0].contains("not kept"));
    assert!(cache.file().is_dir());
}
