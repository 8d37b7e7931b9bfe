//! Rows that are normalised for training.

use std::fs;
use std::path::Path;

use monosem::sae::load;
use serde_json::Value;

use crate::program::cli::{Files, fail, metrics, monosem, noise, succeed, write};

const D: usize = 10;
const ROWS: usize = 500;
const NORMALIZE: &[&str] = &["--normalize-activations", "expected-norm"];

/// Flags of architectures whose weights are saved in different ways.
const ARCHITECTURES: [&[&str]; 4] = [
    &["--arch", "topk", "--k", "4"],
    &["--arch", "batchtopk", "--k", "4", "--rescale-acts-by-decoder-norm"],
    &["--arch", "relu", "--l1", "0.1", "--init-l0", "6"],
    &["--arch", "jumprelu", "--l0-coefficient", "0.1", "--init-l0", "6", "--log-threshold"],
];

fn value(at: usize) -> f32 {
    40.0 * noise(at) + (at % D) as f32
}

fn train(data: &str, out: &str, more: &[&[&str]]) -> String {
    let sizes = ["--features", "40", "--batch", "50", "--steps", "5", "--log-every", "1", "--no-autotune"];
    let paths = ["train", "--data", data, "--out", out, "--device", "cpu", "--checkpoint-every", "2"];
    let output = monosem(&[&paths[..], &sizes, &more.concat()].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{more:?}: {said}");
    said
}

fn eval(sae: &str, data: &str) -> (f64, f64) {
    let line = succeed(&["eval", "--sae", sae, "--data", data, "--json", "--device", "cpu"]);
    let line: Value = serde_json::from_str(&line).unwrap();
    (line["fvu"].as_f64().unwrap(), line["l0"].as_f64().unwrap())
}

fn row_scale(run: &str) -> f32 {
    let record: Value = serde_json::from_slice(&fs::read(Path::new(run).join("run.json")).unwrap()).unwrap();
    record["row_scale"].as_f64().unwrap() as f32
}

/// By the definition: sqrt(d) over the mean norm.
fn expected_scale(rows: usize) -> f32 {
    let norm = |row: usize| (0..D).map(|at| f64::from(value(row * D + at)).powi(2)).sum::<f64>().sqrt();
    ((D as f64).sqrt() / ((0..rows).map(norm).sum::<f64>() / rows as f64)) as f32
}

#[test]
fn it_is_training_on_rows_that_were_scaled_and_the_factor_is_folded() {
    let files = Files::new();
    let raw_data = write(&files.directory.path().join("raw.safetensors"), ROWS, value);
    let scale = expected_scale(ROWS);
    let scaled_data = write(&files.directory.path().join("scaled.safetensors"), ROWS, |at| value(at) * scale);
    for flags in ARCHITECTURES {
        let [raw, scaled] = ["raw", "scaled"].map(|name| files.path(&format!("{name}-{}", flags[1])));
        let said = train(&raw_data, &raw, &[flags, NORMALIZE]);
        assert!(said.contains(&format!("rows are multiplied by {scale}: ")), "{said}");
        assert_eq!(row_scale(&raw), scale);
        train(&scaled_data, &scaled, &[flags]);
        // A product of two f32 has the same bits on the device.
        assert_eq!(metrics(Path::new(&raw)), metrics(Path::new(&scaled)), "{flags:?}");
        let [folded, plain] = [&raw, &scaled].map(|run| load(Path::new(run)).unwrap());
        for specification in folded.config.tensors() {
            let name = specification.name;
            let factor = match name {
                "W_enc" => f64::from(scale),
                "W_dec" | "b_dec" => 1.0 / f64::from(scale),
                _ => 1.0,
            };
            let expected: Vec<f32> =
                plain.tensor(name).iter().map(|&value| (f64::from(value) * factor) as f32).collect();
            assert!(folded.tensor(name) == expected, "{flags:?}: {name}");
        }
        for step in ["", "/checkpoints/step-4"] {
            let [(fvu, l0), (of_scaled, l0_of_scaled)] =
                [eval(&format!("{raw}{step}"), &raw_data), eval(&format!("{scaled}{step}"), &scaled_data)];
            assert!(
                (fvu - of_scaled).abs() < 1e-6 && (l0 - l0_of_scaled).abs() < 0.01,
                "{flags:?}: {fvu}, {of_scaled}"
            );
        }

        // As if it had been stopped after its last checkpoint.
        let (sae, lines) = (Path::new(&raw).join("sae"), metrics(Path::new(&raw)));
        let done = fs::read(sae.join("sae_weights.safetensors")).unwrap();
        fs::remove_dir_all(&sae).unwrap();
        fs::write(Path::new(&raw).join("run.json"), "{\"state\": \"failed\"}").unwrap();
        let resumed = monosem(&["train", "--out", &raw, "--resume"]);
        let said = String::from_utf8_lossy(&resumed.stderr);
        assert!(said.contains(&format!("rows are multiplied by {scale}, as when the run began")), "{said}");
        assert!(fs::read(sae.join("sae_weights.safetensors")).unwrap() == done, "{flags:?}");
        assert!(metrics(Path::new(&raw)) == lines && row_scale(&raw) == scale, "{flags:?}");
    }
}

#[test]
fn statistics_that_are_kept_spare_the_reading() {
    let files = Files::new();
    let data = write(&files.directory.path().join("raw.safetensors"), ROWS, value);
    let said = train(&data, &files.path("read"), &[NORMALIZE]);
    assert!(said.contains("reading 500 rows for their mean norm"), "{said}");
    succeed(&["data", "info", &data, "--write"]);
    let said = train(&data, &files.path("kept"), &[NORMALIZE]);
    assert!(!said.contains("reading 500 rows"), "{said}");
    // They are not of the rows that are left.
    let said = train(&data, &files.path("filtered"), &[NORMALIZE, &["--max-norm", "1.2"]]);
    assert!(said.contains("rows for their mean norm"), "{said}");
    let scales = ["read", "kept", "filtered"].map(|run| row_scale(&files.path(run)));
    assert!(scales[0] == scales[1] && scales[1] == expected_scale(ROWS) && scales[2] > scales[0], "{scales:?}");
}

#[test]
fn held_out_rows_and_initial_weights_are_those_of_the_data() {
    let files = Files::new();
    let data = write(&files.directory.path().join("raw.safetensors"), ROWS, value);
    let (run, again) = (files.path("run"), files.path("again"));
    train(&data, &run, &[NORMALIZE, &["--val", &data]]);
    let (fvu, l0) = eval(&run, &data);
    let last = metrics(Path::new(&run)).pop().unwrap();
    let (val_fvu, val_l0) = (last["val_fvu"].as_f64().unwrap(), last["val_l0"].as_f64().unwrap());
    assert!((val_fvu - fvu).abs() < 1e-5 * fvu && (val_l0 - l0).abs() < 0.01, "{val_fvu}, {fvu}");

    train(&data, &again, &[NORMALIZE, &["--init", &run, "--lr", "1e-12", "--warmup", "0"]]);
    let [before, after] = [&run, &again].map(|run| load(Path::new(run)).unwrap());
    for name in ["W_enc", "b_enc", "W_dec", "b_dec"] {
        for (a, b) in before.tensor(name).iter().zip(after.tensor(name)) {
            assert!((a - b).abs() <= 1e-6 * (1.0 + a.abs()), "{name}: {a}, {b}");
        }
    }
}

#[test]
fn rows_of_zeros_have_no_factor() {
    let files = Files::new();
    let data = write(&files.directory.path().join("zeros.safetensors"), ROWS, |_| 0.0);
    let train = ["train", "--data", &data, "--out", &files.path("run"), "--features", "40", "--steps", "1"];
    fail(&[&train[..], &["--batch", "50"], NORMALIZE].concat(), 3, "the mean norm of the rows is 0, which no factor");
    assert!(!Path::new(&files.path("run")).exists());
}

const LAYER_NORM: &[&str] = &["--normalize-activations", "layer-norm"];

/// By the definition.
fn layer_normed(at: usize) -> f32 {
    let row: Vec<f64> = (0..D).map(|column| value(at / D * D + column).into()).collect();
    let mean = row.iter().sum::<f64>() / D as f64;
    let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (D - 1) as f64;
    ((row[at % D] - mean) / (variance.sqrt() + 1e-5)) as f32
}

#[test]
fn an_sae_with_layer_norm_encodes_rows_as_one_without_encodes_normalized_rows() {
    let files = Files::new();
    let raw = write(&files.directory.path().join("raw.safetensors"), ROWS, value);
    let normalized = write(&files.directory.path().join("normalized.safetensors"), ROWS, layer_normed);
    for flags in ARCHITECTURES {
        let run = files.path(flags[1]);
        train(&raw, &run, &[flags, LAYER_NORM, &["--val", &raw]]);
        let (fvu, l0) = eval(&run, &raw);
        let last = metrics(Path::new(&run)).pop().unwrap();
        assert!((last["val_fvu"].as_f64().unwrap() - fvu).abs() < 1e-5 * fvu || flags[1] == "batchtopk", "{flags:?}");

        // A run before it is finished, and one that starts from another.
        assert!((eval(&format!("{run}/checkpoints/step-4"), &raw).1 - l0).abs() < 3.0, "{flags:?}");
        let again = files.path(&format!("again-{}", flags[1]));
        if flags[1] == "topk" {
            train(&raw, &again, &[flags, LAYER_NORM, &["--init", &run, "--lr", "1e-12", "--warmup", "0"]]);
            assert!((eval(&again, &raw).0 - fvu).abs() < 1e-5);
            let paths = ["train", "--data", &raw, "--out", &files.path("other"), "--init", &run];
            let sizes = ["--features", "40", "--batch", "50", "--steps", "1", "--k", "4"];
            fail(&[&paths[..], &sizes].concat(), 2, "input_normalization");
        }

        let path = Path::new(&run).join("sae/cfg.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(config["normalize_activations"], "layer_norm");
        config["normalize_activations"] = "none".into();
        fs::write(&path, config.to_string()).unwrap();
        let (of_normalized, l0_of_normalized) = eval(&run, &normalized);
        assert!((l0 - l0_of_normalized).abs() < 0.01, "{flags:?}: {l0}, {l0_of_normalized}");
        // Errors of rows of equal lengths, which these nearly are, are shares of their variance.
        assert!(fvu < 1.0 && (fvu - of_normalized).abs() < 0.1, "{flags:?}: {fvu}, {of_normalized}");
    }
}

#[test]
fn layer_norm_has_no_auxiliary_loss() {
    let files = Files::new();
    let data = write(&files.directory.path().join("raw.safetensors"), ROWS, value);
    let train = ["train", "--data", &data, "--out", &files.path("run"), "--features", "40", "--steps", "1"];
    let auxk = ["--batch", "50", "--k", "4", "--auxk", "normalised"];
    fail(&[&train[..], &auxk, LAYER_NORM].concat(), 2, "train without one of them");
    assert!(!Path::new(&files.path("run")).exists());
}
