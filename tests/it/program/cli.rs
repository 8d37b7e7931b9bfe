//! The program, end to end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use monosem::rng::{Purpose, Rng, symmetric};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

const D: usize = 10;

/// The program's file; MONOSEM_BIN is for machines to which the tests were carried without the build directory.
pub fn program() -> OsString {
    std::env::var_os("MONOSEM_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_monosem").into())
}

/// The program, apart from what this user's machine remembers of it.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    // Help is as wide as the terminal, or as this says.
    command.args(arguments).env("COLUMNS", "100");
    command.env("MONOSEM_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-cache"));
    command
}

pub fn monosem(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the program; it must succeed.
pub fn succeed(arguments: &[&str]) -> String {
    succeed_with(arguments, &[])
}

/// Runs the program with environment variables; it must succeed.
pub fn succeed_with(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = command(arguments).envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program; it must fail with `code` and say `words`.
pub fn fail(arguments: &[&str], code: i32, words: &str) {
    let output = monosem(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(message.contains(words), "{arguments:?}: {message}");
    assert!(!message.contains("panicked"), "{arguments:?}: {message}");
}

/// The lines of a run's metrics.jsonl but for what depends on time.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        (line["seconds"], line["tokens_per_second"]) = (Value::Null, Value::Null);
        line
    };
    text.lines().map(line).collect()
}

/// The line of `eval --json` but for where it is from.
pub fn measures(line: &[u8]) -> Value {
    let mut line: Value = serde_json::from_slice(line).unwrap();
    (line["sae"], line["data"]) = (Value::Null, Value::Null);
    line
}

pub fn write(path: &Path, rows: usize, value: impl Fn(usize) -> f32) -> String {
    let values: Vec<f32> = (0..rows * D).map(value).collect();
    let view = TensorView::new(Dtype::F32, vec![rows, D], bytemuck::cast_slice(&values)).unwrap();
    let metadata = [("model_name".to_owned(), "a model".to_owned())].into();
    safetensors::serialize_to_file([("activations", view)], Some(metadata), path).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn noise(at: usize) -> f32 {
    symmetric(Rng::new(5, Purpose::Weights).block(at as u64, 0)[0])
}

/// A directory, and activations in it.
pub struct Files {
    pub directory: tempfile::TempDir,
    pub data: String,
}

impl Files {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = write(&directory.path().join("data.safetensors"), 500, noise);
        Self { directory, data }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn a_run_trains_evaluates_and_encodes() {
    let files = Files::new();
    let (out, codes) = (files.path("run"), files.path("codes.safetensors"));
    let train = ["train", "--data", &files.data, "--out", &out, "--expansion", "6", "--k", "5", "--batch", "100"];
    succeed(&[&train[..], &["--tokens", "3950", "--log-every", "7"]].concat());

    let metrics = std::fs::read_to_string(files.path("run/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 7, 14, 21, 28, 35, 40]);
    assert!(lines.iter().all(|line| line["fvu"].as_f64().is_some_and(|fvu| fvu > 0.0 && fvu < 2.0)));

    let sae = monosem::sae::load(&PathBuf::from(&out)).unwrap();
    assert_eq!((sae.config.d_in, sae.config.features, sae.config.usual_l0()), (D, 60, 5));
    assert_eq!(sae.provenance.model_name.as_deref(), Some("a model"));

    let json: Value =
        serde_json::from_str(&succeed(&["eval", "--sae", &out, "--data", &files.data, "--json"])).unwrap();
    assert_eq!(json["tokens"], 500);
    assert_eq!(json["explained_variance"].as_f64().unwrap(), 1.0 - json["fvu"].as_f64().unwrap());
    assert!(json["l0"].as_f64().unwrap() <= 5.0);

    succeed(&["encode", "--sae", &files.path("run/sae"), "--data", &files.data, "--out", &codes, "--batch", "64"]);
    let bytes = std::fs::read(&codes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (indices, values) = (tensors.tensor("indices").unwrap(), tensors.tensor("values").unwrap());
    assert_eq!((indices.dtype(), indices.shape()), (Dtype::I32, &[500, 5][..]));
    assert_eq!((values.dtype(), values.shape()), (Dtype::F32, &[500, 5][..]));
    let indices: Vec<i32> = bytemuck::pod_collect_to_vec(indices.data());
    assert!(indices.chunks(5).all(|row| row.is_sorted() && row[0] >= 0 && row[4] < 60));

    fail(&[&train[..], &["--steps", "5"]].concat(), 2, "is not empty");
    fail(&["encode", "--sae", &out, "--data", &files.data, "--out", &codes], 2, "exists");
}

#[test]
fn devices_are_listed() {
    assert!(succeed(&["devices"]).starts_with("0: "));
}
