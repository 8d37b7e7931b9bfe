//! What activations may come as: many files, other names and types, other formats that are only recognised.

use std::path::{Path, PathBuf};
use std::process::Output;

use safetensors::tensor::{Dtype, TensorView};

use crate::program::cli::{fail, monosem, program, succeed};
use crate::program::rows::Rows;

const SIZES: [&str; 8] = ["--features", "20", "--k", "4", "--batch", "10", "--steps", "3"];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the program with so many files that may be open.
#[cfg(unix)]
fn limited(files: usize, arguments: &[&str]) -> Output {
    let script = format!("ulimit -Sn {files}; exec \"$@\"");
    std::process::Command::new("sh").args(["-c", &script, "sh"]).arg(program()).args(arguments).output().unwrap()
}

#[cfg(unix)]
#[test]
fn more_files_than_may_be_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (all, shards) = (Rows::random(600), path("shards"));
    std::fs::create_dir(&shards).unwrap();
    for shard in 0..300 {
        all.filter(|row| row / 2 == shard).write(&shards.join(format!("{shard:03}.safetensors")), &[]);
    }
    let whole = all.write(&path("whole"), &[]);
    // Weights, measures and codes, trained on and from these data.
    let results = |data: &str, name: &str, run: &dyn Fn(&[&str]) -> Output| {
        let (out, codes) = (path(name), path(&format!("{name}-codes")));
        let said = |arguments: &[&str]| {
            let output = run(arguments);
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let filter = ["--exclude-tokens", "3", "--max-norm", "9"];
        said(&[&["train", "--data", data, "--out", text(&out)], &SIZES[..], &filter].concat());
        let measures = said(&[&["eval", "--sae", text(&out), "--data", data, "--json"], &filter[..]].concat());
        said(&["encode", "--sae", text(&out), "--data", data, "--out", text(&codes)]);
        let read = |path: PathBuf| std::fs::read(path).unwrap();
        (read(out.join("sae/sae_weights.safetensors")), measures, read(codes))
    };
    let expected = results(&whole, "whole-run", &monosem);
    assert!(results(text(&shards), "shards-run", &|arguments| limited(64, arguments)) == expected);

    let output = limited(4, &["encode", "--sae", text(&path("whole-run")), "--data", &whole, "--out", "x"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(message.contains("this process's limit on open files") && message.contains("ulimit -n"), "{message}");
}
