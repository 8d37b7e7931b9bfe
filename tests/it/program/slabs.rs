//! Runs whose active features do not fit their list.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::cli::{Files, metrics, succeed};

fn record(run: &str) -> Value {
    serde_json::from_slice(&fs::read(Path::new(run).join("run.json")).unwrap()).unwrap()
}

fn weights(run: &str) -> Vec<u8> {
    fs::read(Path::new(run).join("sae/sae_weights.safetensors")).unwrap()
}

#[test]
fn a_run_from_the_authors_start_takes_slabs_says_so_and_resumes_with_the_same_bits() {
    let files = Files::new();
    // About half of 40 features are active at first.
    let start = ["--arch", "relu", "--init-threshold", "0", "--init-decoder-norm", "0.1", "--l1", "0.1"];
    let sizes = ["--features", "40", "--batch", "50", "--steps", "5", "--device", "cpu", "--no-autotune"];
    let train = |name: &str, flags: &[&str]| {
        let out = files.path(name);
        let paths = ["train", "--data", &files.data, "--out", &out, "--log-every", "1"];
        succeed(&[&paths[..], &start, &sizes, flags].concat());
        out
    };
    let listed = train("listed", &[]);
    let run = train("slabs", &["--list-capacity", "300", "--checkpoint-every", "2"]);
    let (expected, lines) = (metrics(Path::new(&listed)), metrics(Path::new(&run)));
    assert_eq!(lines.len(), 5);
    for (line, expected) in lines.iter().zip(&expected) {
        assert_eq!((&line["path"], expected.get("path")), (&json!("slabs"), None));
        let of = |line: &Value| line["fvu"].as_f64().unwrap();
        assert!((of(line) / of(expected) - 1.0).abs() < 1e-4, "{line}, {expected}");
    }
    assert_eq!(record(&run)["steps_by_path"], json!({ "lists": 0, "slabs": 5 }));
    assert_eq!(record(&listed).get("steps_by_path"), None);

    // As if it had been stopped after its last checkpoint.
    let done = weights(&run);
    fs::remove_dir_all(Path::new(&run).join("sae")).unwrap();
    fs::write(Path::new(&run).join("run.json"), "{\"state\": \"failed\"}").unwrap();
    succeed(&["train", "--out", &run, "--resume"]);
    assert!(weights(&run) == done && metrics(Path::new(&run)) == lines);
    assert_eq!(record(&run)["steps_by_path"], json!({ "lists": 0, "slabs": 5 }));
}
