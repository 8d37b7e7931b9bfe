//! Training on rows that come once, through standard input.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use serde_json::Value;

use crate::program::cli::{self, Files, command, fail, noise};

const D: usize = 10;

/// A stream of these rows of the test data.
fn stream(rows: usize, value: impl Fn(usize) -> f32) -> Vec<u8> {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let of = DataType::FixedSizeList(item.clone(), D as i32);
    let schema = Arc::new(Schema::new(vec![Field::new("activations", of, false)]));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    for first in (0..rows).step_by(64) {
        let values: Vec<f32> = (first * D..rows.min(first + 64) * D).map(&value).collect();
        let list = FixedSizeListArray::new(item.clone(), D as i32, Arc::new(Float32Array::from(values)), None);
        writer.write(&RecordBatch::try_new(schema.clone(), vec![Arc::new(list) as ArrayRef]).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// Trains on what is piped into the program, which need not read all of it.
fn train(out: &str, bytes: &[u8], more: &[&str]) -> Output {
    let sizes = ["--features", "20", "--k", "4", "--batch", "50", "--steps", "9", "--seed", "3"];
    pipe(&[&["train", "--data", "-", "--out", out], &sizes[..], more].concat(), bytes)
}

/// Runs the program on what is piped into it.
fn pipe(arguments: &[&str], bytes: &[u8]) -> Output {
    let mut command = command(arguments);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    // A closed pipe is the reader's choice.
    let _ = writer.join().unwrap();
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn weights(run: &str) -> Vec<u8> {
    std::fs::read(Path::new(run).join("sae/sae_weights.safetensors")).unwrap()
}

#[test]
fn a_stream_ends_with_the_bits_of_a_file_read_in_its_order() {
    let files = Files::new();
    let (of_file, of_stream) = (files.path("file"), files.path("stream"));
    let sizes = ["--features", "20", "--k", "4", "--batch", "50", "--steps", "9", "--seed", "3"];
    cli::succeed(&[&["train", "--data", &files.data, "--out", &of_file, "--order", "sequential"], &sizes[..]].concat());
    let output = train(&of_stream, &stream(500, noise), &["--order", "sequential"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("9 steps x 50 rows (of a stream, as they come)"), "{}", said(&output));
    assert!(weights(&of_file) == weights(&of_stream));
    assert!(cli::metrics(Path::new(&of_stream)).iter().all(|line| line["epoch"] == Value::Null));
}

#[test]
fn the_rows_of_a_stream_are_normalised_by_its_front() {
    let files = Files::new();
    let (of_file, of_stream) = (files.path("file"), files.path("stream"));
    let data = cli::write(&files.directory.path().join("front"), 450, noise);
    let flags = ["--order", "sequential", "--normalize-activations", "expected-norm"];
    let sizes = ["--features", "20", "--k", "4", "--batch", "50", "--steps", "9", "--seed", "3"];
    cli::succeed(&[&["train", "--data", &data, "--out", &of_file], &sizes[..], &flags].concat());
    let output = train(&of_stream, &stream(500, noise), &flags);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("rows are multiplied by "), "{}", said(&output));
    assert!(weights(&of_file) == weights(&of_stream));
}

#[test]
fn a_stream_that_ends_early_resumes_with_one_that_goes_on() {
    let files = Files::new();
    let (unbroken, broken) = (files.path("unbroken"), files.path("broken"));
    let sequential = ["--order", "sequential"];
    let whole = stream(500, noise);
    let output = train(&unbroken, &whole, &sequential);
    assert!(output.status.success(), "{}", said(&output));

    let output = train(&broken, &stream(260, noise), &sequential);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let expected = "standard input: the rows end after step 5 of 9";
    assert!(said(&output).contains(expected), "{}", said(&output));
    let output = train(&broken, &stream(500, |at| noise(at + 1)), &["--resume"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("the data are not those that the run began with"), "{}", said(&output));
    let output = train(&broken, &whole, &["--resume"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("resuming from step 5 of 9"), "{}", said(&output));
    assert!(weights(&unbroken) == weights(&broken));
    // A run that is done needs no stream.
    let output = train(&broken, &[], &["--resume"]);
    assert!(output.status.success() && said(&output).contains("already complete"), "{}", said(&output));
}

#[test]
fn mixed_rows_cannot_go_on_behind_their_end() {
    let files = Files::new();
    let (short, whole) = (files.path("short"), stream(500, noise));
    let output = train(&short, &stream(260, noise), &["--order", "mixed"]);
    assert!(said(&output).contains("(of a stream, rows through a mixing buffer of "), "{}", said(&output));
    assert!(said(&output).contains("after step 5 of 9: start again with more of them"), "{}", said(&output));
    let output = train(&short, &whole, &["--resume"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("ended inside its mixing buffer"), "{}", said(&output));
}

#[test]
fn a_bad_stream_is_named_and_keeps_what_was_learnt() {
    let files = Files::new();
    let run = files.path("run");
    let bad = stream(500, |at| if at == 321 * D + 7 { f32::NAN } else { noise(at) });
    let sequential = ["--order", "sequential"];
    let output = train(&run, &bad, &sequential);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("row 321, column 7 is NaN"), "{}", said(&output));
    let output = train(&files.path("skipped"), &bad, &[&sequential[..], &["--bad-rows", "skip"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let record: Value = serde_json::from_slice(&std::fs::read(files.path("skipped/run.json")).unwrap()).unwrap();
    assert_eq!(record["rows_excluded_not_finite"], 1);

    let mut cut = stream(500, noise);
    cut.truncate(cut.len() * 3 / 5);
    let cut = train(&files.path("cut"), &cut, &sequential);
    assert_eq!(cut.status.code(), Some(3), "{}", said(&cut));
    assert!(said(&cut).contains("standard input: the stream ended at byte"), "{}", said(&cut));
    for (bytes, words) in [
        (&b""[..], "the stream ended at byte 0"),
        (b"\x93NUMPY\x01\x00", "standard input"),
        (&stream(0, noise), "has no rows"),
    ] {
        let output = train(&files.path("none"), bytes, &[]);
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
        assert!(!Path::new(&files.path("none")).exists());
    }
}

#[test]
fn what_a_stream_cannot_have_is_refused() {
    let files = Files::new();
    for (flags, words) in [
        (&["--order", "rows"][..], "a stream comes in its own order"),
        (&["--order", "mixed", "--mixing-buffer", "4000TiB"], "the mixing buffer needs "),
        (&["--max-norm", "10"], "--max-norm needs the median norm of all rows"),
        (&["--exclude-tokens", "3"], "has no column `token_ids`"),
    ] {
        let output = train(&files.path("run"), &stream(100, noise), flags);
        assert!([2, 3].contains(&output.status.code().unwrap()), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    fail(&["plan", "--features", "64", "--data", "-"], 2, "standard input is read once, from front to back");
}

#[test]
fn a_stream_can_be_looked_into_and_kept() {
    let files = Files::new();
    let whole = stream(500, noise);
    let output = pipe(&["data", "info", "-", "--json"], &whole);
    assert!(output.status.success(), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of_file: Value = serde_json::from_str(&cli::succeed(&["data", "info", &files.data, "--json"])).unwrap();
    assert_eq!((&found["bytes"], &found["data"][0]["rows"]), (&whole.len().into(), &500.into()));
    for name in ["rows", "d", "dtypes", "norm_mean", "norm_p50", "variance", "gamma", "norm_max", "non_finite_rows"] {
        assert_eq!(found[name], of_file[name], "{name}");
    }
    let output = pipe(&["data", "info", "-"], &stream(100, |at| if at == 7 * D { f32::NAN } else { noise(at) }));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("first row that is not finite: row 7 of -"), "{table}");

    let [kept, of_file] = ["kept", "of-file"].map(|name| files.path(name));
    let shards = ["--shard-rows", "123", "--dtype", "f16"];
    let output = pipe(&[&["data", "convert", "-", "--out", &kept, "--json"], &shards[..]].concat(), &whole);
    assert!(output.status.success(), "{}", said(&output));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&line["rows"], &line["files"]), (&500.into(), &5.into()));
    cli::succeed(&[&["data", "convert", &files.data, "--out", &of_file], &shards[..]].concat());
    for shard in 0..5 {
        let name = format!("part-{shard:05}-of-00005.safetensors");
        let [kept, of_file] = [&kept, &of_file].map(|set| std::fs::read(Path::new(set).join(&name)).unwrap());
        let rows = |file: &[u8]| {
            let tensors = safetensors::SafeTensors::deserialize(file).unwrap();
            tensors.tensor("activations").unwrap().data().to_vec()
        };
        assert!(rows(&kept) == rows(&of_file), "{name}");
    }
}

#[test]
fn a_stream_that_cannot_be_kept_leaves_nothing() {
    let files = Files::new();
    let (out, whole) = (files.path("out"), stream(500, noise));
    let convert = ["data", "convert", "-", "--shard-rows", "100", "--out", &out];
    let nan = stream(500, |at| if at == 321 * D + 7 { f32::NAN } else { noise(at) });
    for (bytes, code, words) in [
        // In the middle of a row.
        (&whole[..whole.len() * 3 / 5], 3, "standard input: the stream ended at byte"),
        (&nan, 3, "standard input: column `activations`, row 321, column 7 is NaN"),
        (&stream(0, noise), 3, "has no rows"),
        (&b"PAR1"[..], 3, "standard input"),
    ] {
        let output = pipe(&convert, bytes);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
        let left: Vec<_> =
            std::fs::read_dir(files.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [Path::new(&files.data)]);
    }
    let output = pipe(&["data", "info", "-"], &whole[..whole.len() * 3 / 5]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    for (arguments, words) in [
        (&["data", "info", "-", "--write"][..], "--write keeps the statistics beside files"),
        (&["data", "shuffle", "-", "--out", &out], "standard input is read once, from front to back"),
        (&["data", "convert", "-", "--out", &files.data], "exists"),
    ] {
        let output = pipe(arguments, &whole);
        assert_ne!(output.status.code(), Some(0));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
}

/// Before the first rows there is nothing to save.
#[cfg(unix)]
#[test]
fn a_stream_that_never_begins_can_be_interrupted() {
    use std::os::unix::process::ExitStatusExt;
    let files = Files::new();
    let run = files.path("run");
    let whole = stream(500, noise);
    let arguments = ["train", "--data", "-", "--out", &run, "--features", "20", "--k", "4", "--steps", "1"];
    for sent in [0, 100, whole.len() / 2] {
        let mut command = command(&[&arguments[..], &["--batch", "400"]].concat());
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&whole[..sent]).unwrap();
        thread::sleep(Duration::from_millis(1500));
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.signal(), Some(2), "{sent} bytes: {}", said(&output));
        assert!(!Path::new(&run).exists());
    }
}

#[cfg(unix)]
#[test]
fn a_stream_that_stalls_can_be_interrupted() {
    let files = Files::new();
    let run = files.path("run");
    let arguments = ["train", "--data", "-", "--out", &run, "--features", "20", "--k", "4", "--batch", "50"];
    let mut command = command(&[&arguments[..], &["--steps", "9", "--order", "sequential"]].concat());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let whole = stream(500, noise);
    stdin.write_all(&whole[..whole.len() / 2]).unwrap();
    let metrics = Path::new(&run).join("metrics.jsonl");
    while !std::fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() > 0) {
        assert!(child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(said(&output).contains("continue with --resume"), "{}", said(&output));
}
