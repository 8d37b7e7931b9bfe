//! Activations that `monosem data shuffle` puts in a random order.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::program::cli::{Files, fail, monosem, succeed};
use crate::program::rows::Rows;

const D: usize = 6;
const ROWS: usize = 3000;

/// Rows that tell their numbers, in files of 1000.
fn write_rows(directory: &Path) -> Vec<String> {
    let rows = Rows {
        values: (0..ROWS * D).map(|at| at as f32).collect(),
        tokens: (0..ROWS as i32).collect(),
        sources: (0..ROWS).map(|row| (row % 3) as u8).collect(),
    };
    let write = |part: usize| {
        let path = directory.join(format!("part-{part}"));
        rows.filter(|row| row / 1000 == part).write(&path, &[("model_name", "a model")])
    };
    (0..3).map(write).collect()
}

/// The numbers of the rows of a set in its order, once their columns are found to be theirs, and the metadata of its
/// files.
fn read(set: &str) -> (Vec<i32>, Vec<Value>) {
    let (mut order, mut facts) = (Vec::new(), Vec::new());
    let mut names: Vec<_> = fs::read_dir(set).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let bytes = fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = |name| tensors.tensor(name).unwrap().data();
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(data("activations"));
        let tokens: Vec<i32> = bytemuck::pod_collect_to_vec(data("token_ids"));
        for ((values, &token), &source) in values.chunks_exact(D).zip(&tokens).zip(data("source")) {
            assert!(values.iter().enumerate().all(|(at, &value)| value == (token as usize * D + at) as f32));
            assert_eq!(source, (token % 3) as u8);
            order.push(token);
        }
        facts.push(json!(SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap()));
    }
    (order, facts)
}

#[test]
fn every_row_comes_once_in_a_random_order() {
    let files = Files::new();
    let data = write_rows(files.directory.path());
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    let shuffle = |seed: &str, out: &str| {
        let flags = ["--seed", seed, "--memory", "64KiB", "--json", "--out", out];
        let line: Value = serde_json::from_str(&succeed(&[&["data", "shuffle"], &data[..], &flags].concat())).unwrap();
        line
    };
    let (out, again, other) = (files.path("out"), files.path("again"), files.path("other"));
    let line = shuffle("3", &out);
    assert_eq!((&line["type"], &line["state"], &line["rows"]), (&"data shuffle".into(), &"done".into(), &ROWS.into()));
    let (order, facts) = read(&out);
    assert!(facts.len() > 2 && line["files"] == facts.len(), "{line}");
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..ROWS as i32));
    let fixed = order.iter().enumerate().filter(|(place, row)| *place == **row as usize).count();
    assert!(fixed < 10, "{fixed} rows did not move");
    for said in facts {
        assert_eq!((&said["shuffled"], &said["shuffle_seed"]), (&"true".into(), &"3".into()));
        assert_eq!((&said["shuffle_rows"], &said["model_name"]), (&"3000".into(), &"a model".into()));
        assert_eq!(said["shuffle_checksum"], line["checksum"]);
    }
    shuffle("3", &again);
    assert_eq!(read(&again).0, order);
    assert_eq!(shuffle("4", &other)["checksum"], line["checksum"]);
    assert_ne!(read(&other).0, order);
    let info: Value = serde_json::from_str(&succeed(&["data", "info", &out, "--json"])).unwrap();
    assert_eq!((&info["shuffled"], &info["rows"]), (&true.into(), &ROWS.into()));
}

#[test]
fn what_cannot_be_shuffled_is_refused() {
    let files = Files::new();
    let data = write_rows(files.directory.path());
    let out = files.path("out");
    let words = "column";
    fail(&["data", "shuffle", &data[0], &files.data, "--out", &out], 3, "has width 10");
    let bare = files.path("bare");
    let values = [0.5_f32; D];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1, D], bytemuck::cast_slice(&values));
    safetensors::serialize_to_file([("activations", view.unwrap())], None, bare.as_ref()).unwrap();
    fail(&["data", "shuffle", &data[0], &bare, "--out", &out], 3, words);
    fail(&["data", "shuffle", &data[0], "--memory", "100", "--out", &out], 2, "give --memory ");
    fail(&["data", "shuffle", &data[0], "--memory", "none", "--out", &out], 2, "not a size");
    fail(&["data", "shuffle", &data[0], "--out", &bare], 2, "exists");
    fail(&["data", "shuffle", &data[0], "--out", &files.path("none/out")], 5, "none");
    assert!(!fs::exists(&out).unwrap());
    let output = monosem(&["data", "shuffle", &data[0], "--out", &out, "--quiet"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[cfg(unix)]
mod ended {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::program::cli::command;

    /// So that a shuffle takes a while: many small files, each of which is put on the disk.
    const FLAGS: [&str; 4] = ["--memory", "24KiB", "--seed", "7"];

    fn shuffle(data: &[String], out: &str) -> Command {
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        let mut shuffle = command(&[&["data", "shuffle", "--out", out], &FLAGS[..], &["--json"], &data].concat());
        shuffle.stdout(Stdio::piped()).stderr(Stdio::piped());
        shuffle
    }

    /// Waits until files are written, or the program has ended.
    fn wait(child: &mut Child, reached: impl Fn() -> bool) {
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() && !reached() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_interrupted_shuffle_continues() {
        let files = Files::new();
        let data = write_rows(files.directory.path());
        let (out, whole) = (files.path("out"), files.path("whole"));
        assert!(shuffle(&data, &whole).status().unwrap().success());
        let shards = files.directory.path().join(".out.shuffle/shards");
        let written = || fs::read_dir(&shards).map_or(0, |shards| shards.count());
        let mut child = shuffle(&data, &out).spawn().unwrap();
        wait(&mut child, || written() > 1);
        let pid = child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("interrupted: the same command continues"), "{said}");
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&line["state"], &line["exit_code"]), (&"interrupted".into(), &130.into()));
        assert!(!fs::exists(&out).unwrap());
        let output = shuffle(&data, &out).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains("continuing a shuffle: pass 2 of 2, "), "{said}");
        assert_eq!(read(&out), read(&whole));
        assert!(!shards.exists());
    }

    #[test]
    fn a_killed_shuffle_continues() {
        let files = Files::new();
        let data = write_rows(files.directory.path());
        let (out, whole) = (files.path("out"), files.path("whole"));
        assert!(shuffle(&data, &whole).status().unwrap().success());
        let work = files.directory.path().join(".out.shuffle");
        let count = |name: &str| fs::read_dir(work.join(name)).map_or(0, |entries| entries.count());
        let moments: [&dyn Fn() -> bool; 5] = [
            &|| work.exists(),
            &|| count("buckets") > 0,
            &|| work.join("state.json").exists(),
            &|| count("shards") > 0,
            &|| count("shards") > 2,
        ];
        for reached in moments {
            let mut child = shuffle(&data, &out).spawn().unwrap();
            wait(&mut child, reached);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(fs::exists(&out).unwrap() || shuffle(&data, &out).status().unwrap().success());
        assert_eq!(read(&out), read(&whole));
        assert!(!work.exists());
    }
}
