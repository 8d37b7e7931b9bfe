//! The SAE of a checkpoint and of an unfinished run: the same as that of a run that ended there.

use std::fs;
use std::path::Path;

use monosem::run::checkpoint::Marks;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::engine::run::change_marks;
use crate::program::cli::{Files, fail, monosem, succeed};

const SIZES: [&str; 14] =
    ["--features", "64", "--k", "4", "--batch", "50", "--seed", "2", "--warmup", "0", "--decay", "0", "--lr", "0.001"];

/// Trains `steps` steps with a checkpoint every fourth.
fn train(files: &Files, name: &str, steps: &str) -> String {
    let out = files.path(name);
    let flags =
        ["train", "--data", &files.data, "--out", &out, "--steps", steps, "--device", "cpu", "--hook-name", "h"];
    succeed(&[&flags[..], &["--checkpoint-every", "4", "--keep-checkpoints", "9"], &SIZES].concat());
    out
}

/// As if the run had been killed before it ended.
fn unfinish(run: &str) {
    fs::remove_dir_all(Path::new(run).join("sae")).unwrap();
    let record = Path::new(run).join("run.json");
    let text = fs::read_to_string(&record).unwrap().replace("\"done\"", "\"running\"");
    fs::write(record, text).unwrap();
}

fn files_of(directory: &str) -> [Vec<u8>; 2] {
    ["cfg.json", "sae_weights.safetensors"].map(|name| fs::read(Path::new(directory).join(name)).unwrap())
}

/// What `eval`, `encode` and `export` make of an SAE, whatever they say of where it is.
fn uses(files: &Files, sae: &str, name: &str) -> (Value, [Vec<u8>; 2], [Vec<u8>; 2]) {
    let (codes, out) = (files.path(&format!("{name}.codes")), files.path(&format!("{name}.sae")));
    let metrics = succeed(&["eval", "--sae", sae, "--data", &files.data, "--device", "cpu", "--json"]);
    succeed(&["encode", "--sae", sae, "--data", &files.data, "--device", "cpu", "--out", &codes]);
    succeed(&["export", "--sae", sae, "--out", &out]);
    let mut metrics: Value = serde_json::from_str(&metrics).unwrap();
    metrics.as_object_mut().unwrap().remove("sae").unwrap();
    let codes = fs::read(codes).unwrap();
    let tensors = SafeTensors::deserialize(&codes).unwrap();
    (metrics, ["indices", "values"].map(|name| tensors.tensor(name).unwrap().data().to_vec()), files_of(&out))
}

#[test]
fn checkpoints_and_unfinished_runs_are_saes() {
    let files = Files::new();
    // The schedule is flat, so the run of eight steps is the first half of that of sixteen.
    let (short, long) = (train(&files, "short", "8"), train(&files, "long", "17"));
    let expected = uses(&files, &short, "short");
    assert!(expected.2 == files_of(&format!("{short}/sae")), "an export of an SAE is its copy");
    let checkpoint = format!("{long}/checkpoints/step-8");
    assert!(uses(&files, &checkpoint, "checkpoint") == expected);
    assert!(uses(&files, &long, "finished") != expected);

    unfinish(&long);
    // Newer ones are damaged: skipped and named, but not removed.
    for step in [12, 16] {
        let state = format!("{long}/checkpoints/step-{step}/state.safetensors");
        let mut bytes = fs::read(&state).unwrap();
        let middle = 1024;
        bytes[middle] ^= 1;
        fs::write(&state, bytes).unwrap();
    }
    assert!(uses(&files, &long, "unfinished") == expected);
    let output = monosem(&["export", "--sae", &long, "--out", &files.path("json"), "--json"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(words.matches("note: skipping a damaged checkpoint: ").count(), 2, "{words}");
    assert!(words.contains("of step 8, from the checkpoint ") && words.contains("step-16"), "{words}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["type"], &result["features"], &result["k"]), (&"export".into(), &64.into(), &4.into()));
    let (sae, path) = (&result["sae"], Path::new(&long).join("checkpoints/step-8"));
    assert_eq!((&sae["path"], &sae["step"], &sae["checksum"]), (&long.clone().into(), &8.into(), &Value::Null));
    assert_eq!(sae["checkpoint"], path.to_str().unwrap());
    assert!(Path::new(&format!("{long}/checkpoints/step-16")).exists());
    assert_eq!(succeed(&["export", "--sae", &checkpoint, "--out", &files.path("plain")]), "");
    let bench = ["bench", "--data", &files.data, "--batch", "50", "--repeats", "1", "--device", "cpu", "--no-autotune"];
    succeed(&[&bench[..], &["--sae", &checkpoint]].concat());

    // All or nothing, and never over anything.
    let (out, damaged) = (files.path("out"), format!("{long}/checkpoints/step-12"));
    fail(&["export", "--sae", &damaged, "--out", &out], 3, "tensor W_enc is damaged");
    fail(&["export", "--sae", &files.path("nothing"), "--out", &out], 5, "nothing: ");
    fail(&["export", "--sae", &files.path("nothing"), "--out", &files.path("nowhere/sae")], 5, "nowhere/sae: ");
    fail(&["export", "--sae", files.directory.path().to_str().unwrap(), "--out", &out], 3, "and no checkpoint");
    assert!(!Path::new(&out).exists());
    fail(&["export", "--sae", &checkpoint, "--out", &files.path("json")], 2, "exists");
    fs::remove_dir_all(&checkpoint).unwrap();
    fs::remove_dir_all(format!("{long}/checkpoints/step-4")).unwrap();
    fail(&["export", "--sae", &long, "--out", &out], 3, "contains no intact checkpoint");
}

#[test]
fn a_resume_under_other_shaders_is_announced_and_recorded() {
    let files = Files::new();
    let run = train(&files, "run", "10");
    let expected = files_of(&format!("{run}/sae"));
    unfinish(&run);
    let before = Marks { shaders: "0123456789abcdef".into(), ..Marks::current() };
    change_marks(Path::new(&run).join("checkpoints/step-8").as_path(), &before);
    let output = monosem(&["train", "--out", &run, "--resume"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && words.contains("resuming under other shaders"), "{words}");
    assert!(words.find("under other").unwrap() < words.find("resuming from step 8").unwrap(), "{words}");
    let record: Value = serde_json::from_slice(&fs::read(format!("{run}/run.json")).unwrap()).unwrap();
    let [change] = &record["resumed_under"].as_array().unwrap()[..] else { panic!("{record}") };
    assert_eq!((&change["step"], &change["before"]["shaders"]), (&8.into(), &before.shaders.into()));
    assert!(files_of(&format!("{run}/sae")) == expected);

    // An already complete run says so in JSON too.
    let line = succeed(&["train", "--out", &run, "--resume", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["state"], "done");
}

#[test]
fn a_run_of_the_first_format_is_refused_by_name() {
    let files = Files::new();
    let run = train(&files, "run", "10");
    unfinish(&run);
    // As that version wrote it: without `arch` in config.toml, and without marks.
    let config = Path::new(&run).join("config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("arch = \"topk\"\n", "")).unwrap();
    for step in [4, 8] {
        let manifest = format!("{run}/checkpoints/step-{step}/manifest.json");
        fs::write(&manifest, r#"{"manifest": {"format": 1, "version": "0.1.0"}, "checksum": "0"}"#).unwrap();
    }
    let words = "step-8 was written by monosem before format 6";
    fail(&["train", "--out", &run, "--resume"], 2, words);
    fail(&["export", "--sae", &run, "--out", &files.path("out")], 2, words);
    fail(&["verify", &run], 3, "step-4 was written by monosem before format 6");
    assert!(Path::new(&format!("{run}/checkpoints/step-8")).exists());
}

#[test]
fn architectures_are_named() {
    let files = Files::new();
    let flags = ["train", "--data", &files.data, "--out", &files.path("run"), "--steps", "1", "--device", "cpu"];
    let known = "[possible values: topk, batchtopk, matryoshka, relu, jumprelu, gated]";
    fail(&[&flags[..], &SIZES, &["--arch", "other"]].concat(), 2, known);
    fail(
        &[&flags[..], &SIZES, &["--arch", "relu"]].concat(),
        2,
        "--k is of --arch topk, batchtopk, matryoshka, not relu",
    );
    succeed(&[&flags[..], &SIZES, &["--arch", "topk"]].concat());
    let config = fs::read_to_string(files.path("run/config.toml")).unwrap();
    assert!(config.contains("arch = \"topk\"\n"), "{config}");
}

#[test]
fn saes_of_others_are_imported() {
    let files = Files::new();
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sparsify-topk");
    let out = files.path("imported");
    let printed = succeed(&["import", "--sae", theirs.to_str().unwrap(), "--out", &out, "--json"]);
    let line: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&line["d_in"], &line["features"], &line["k"]), (&12.into(), &48.into(), &5.into()));
    let (ours, theirs) = (monosem::sae::load(Path::new(&out)).unwrap(), monosem::sae::load(&theirs).unwrap());
    assert!(ours == theirs);
}
