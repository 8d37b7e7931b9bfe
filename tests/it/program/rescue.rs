//! Runs whose surroundings fail: the state is saved, the error reported, and the same command continues.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::cli::{Files, monosem, noise, program, succeed, write};

const SIZES: &[&str] = &["--features", "300", "--k", "4", "--batch", "20", "--steps", "60", "--log-every", "1"];

fn flags<'a>(data: &'a str, out: &'a str) -> Vec<&'a str> {
    [&["train", "--data", data, "--out", out, "--device", "cpu", "--no-autotune", "--resume"], SIZES].concat()
}

fn weights(out: &str) -> Vec<u8> {
    fs::read(Path::new(out).join("sae/sae_weights.safetensors")).unwrap()
}

fn steps(out: &str) -> Vec<u64> {
    let text = fs::read_to_string(Path::new(out).join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap()).collect()
}

fn saved(out: &str) -> usize {
    monosem::run::checkpoint::list(&Path::new(out).join("checkpoints")).unwrap().len()
}

/// The same command ends with what a run has that nothing happened to.
fn assert_continues(files: &Files, data: &str, out: &str) {
    assert_eq!(saved(out), 1);
    succeed(&flags(data, out));
    let whole = files.path("whole");
    succeed(&flags(data, &whole));
    assert!(weights(out) == weights(&whole));
    assert_eq!(steps(out), steps(&whole));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_ends_a_run_with_its_state_saved() {
    let files = Files::new();
    let out = files.path("run");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(program());
    let run =
        command.args(flags(&files.data, &out)).arg("--json").stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(5), "{said}");
    assert!(said.contains("stdout") && said.contains("--resume"), "{said}");
    assert_continues(&files, &files.data, &out);
}

#[test]
fn a_bad_row_is_named_by_its_file_and_costs_no_step() {
    let files = Files::new();
    let shards = files.path("shards");
    fs::create_dir(&shards).unwrap();
    write(&Path::new(&shards).join("a.safetensors"), 300, noise);
    let second = Path::new(&shards).join("b.safetensors");
    for (name, bad, words) in [("nan", f32::NAN, "is NaN"), ("huge", 1e30, "a norm of 1.000e30")] {
        let out = files.path(name);
        // Row 217, column 3 of the second file.
        write(&second, 300, |at| if at == 2173 { bad } else { noise(at + 7) });
        let run = monosem(&flags(&shards, &out));
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(3), "{said}");
        assert!(said.contains("b.safetensors") && said.contains("row 217") && said.contains(words), "{said}");
        assert!(said.contains("--resume") && !said.contains("learning rate"), "{said}");
        write(&second, 300, |at| noise(at + 7));
        assert_continues(&files, &shards, &out);
        fs::remove_dir_all(files.path("whole")).unwrap();
    }
}

#[test]
fn a_run_says_what_its_metrics_mean() {
    let files = Files::new();
    let held_out = write(Path::new(&files.path("held-out.safetensors")), 130, |at| noise(at + 1_000_003));
    let said = |out: &str, more: &[&str]| {
        let run = monosem(&[&flags(&files.data, &files.path(out))[..], more].concat());
        assert!(run.status.success(), "{run:?}");
        (String::from_utf8(run.stderr).unwrap(), String::from_utf8(run.stdout).unwrap())
    };
    // 60 steps of 20 rows are 2.4 epochs of 500; a rate of 0 leaves the SAE as it began.
    let (words, result) = said("once", &["--val", &held_out, "--eval-every", "25", "--json"]);
    assert!(!words.contains("warning"), "{words}");
    let result: Value = serde_json::from_str(result.lines().last().unwrap()).unwrap();
    let measured: Value =
        serde_json::from_str(&succeed(&["eval", "--sae", &files.path("once"), "--data", &held_out, "--json"])).unwrap();
    let (fvu, expected) = (result["val_fvu"].as_f64().unwrap(), measured["fvu"].as_f64().unwrap());
    assert!((fvu - expected).abs() < 1e-6 * expected, "{fvu} and {expected}");
    let config = fs::read_to_string(Path::new(&files.path("once")).join("config.toml")).unwrap();
    assert!(config.contains("held-out.safetensors") && config.contains("eval-every = 25"), "{config}");

    let sizes = SIZES.iter().map(|&flag| if flag == "60" { "150" } else { flag });
    let often = files.path("often");
    let often: Vec<&str> = ["train", "--data", &files.data, "--out", &often].into_iter().chain(sizes).collect();
    let words = String::from_utf8(monosem(&often).stderr).unwrap();
    assert!(words.contains("6.0 epochs") && words.contains("more than three times"), "{words}");
    // What a file says can be taken back.
    let again = files.path("again");
    let once = Path::new(&files.path("once")).join("config.toml").to_str().unwrap().to_owned();
    succeed(&["train", "--config", &once, "--out", &again, "--val", "none", "--no-autotune"]);
    assert!(weights(&again) == weights(&files.path("once")));
    let metrics = fs::read_to_string(Path::new(&again).join("metrics.jsonl")).unwrap();
    let config = fs::read_to_string(Path::new(&again).join("config.toml")).unwrap();
    assert!(!metrics.contains("val_fvu") && !config.contains("val = ") && !config.contains("eval-every"), "{config}");

    let (words, _) = said("wrong", &["--lr", "30", "--clip", "0"]);
    assert!(words.contains("worse than the mean"), "{words}");

    let narrow = files.path("narrow.safetensors");
    let values = [0.5_f32; 12];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![4, 3], bytemuck::cast_slice(&values));
    safetensors::serialize_to_file([("activations", view.unwrap())], None, Path::new(&narrow)).unwrap();
    let run = monosem(&[&flags(&files.data, &files.path("narrow"))[..], &["--val", &narrow]].concat());
    let words = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.code() == Some(3) && words.contains("have 3 values, and those of --data 10"), "{words}");
}
