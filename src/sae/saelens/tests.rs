use std::fs;

use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::config::VERSION;
use super::tensors::stored;
use super::*;
use crate::data::Provenance;
use crate::sae::{Sae, SaeConfig, TopK, load, open};
use crate::storage::fixtures::{Tensor, write};

/// More inputs than a stripe, and not a multiple of it; every weight differs and is exact in all three types.
fn example() -> Sae {
    let (d_in, features) = (19, 5);
    let ramp = |start: usize, len: usize| (start..start + len).map(|i| i as f32 / 64.0).collect();
    Sae {
        config: SaeConfig {
            apply_b_dec_to_input: false,
            ..SaeConfig::new(d_in, features, TopK { rescale_acts_by_decoder_norm: true, ..TopK::new(2) })
        },
        tensors: vec![ramp(0, 95), ramp(100, 5), ramp(110, 95), ramp(210, 19)],
        provenance: Provenance { model_name: Some("m".into()), context_size: Some(126), ..Provenance::default() },
    }
}

fn saved(sae: &Sae) -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("sae");
    save(sae, &dir).unwrap();
    (root, dir)
}

/// The tensors and their shapes, in the order of the file.
fn shapes(config: &SaeConfig) -> Vec<(&'static str, Vec<usize>)> {
    stored(config).iter().map(|stored| (stored.name, stored.shape(config))).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn round_trip() {
    let sae = example();
    let (root, dir) = saved(&sae);
    assert_eq!(names(root.path()), ["sae"]);
    assert_eq!(names(&dir), [CONFIG, WEIGHTS]);
    assert_eq!(load(&dir).unwrap(), sae);
    assert_eq!(load(root.path()).unwrap(), sae, "through the run directory");

    let config: Value = serde_json::from_slice(&fs::read(dir.join(CONFIG)).unwrap()).unwrap();
    let expected = json!({
        "architecture": "topk", "d_in": 19, "d_sae": 5, "k": 2, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": false, "rescale_acts_by_decoder_norm": true,
        "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": VERSION, "training_architecture": "topk", "model_name": "m", "context_size": 126,
        },
    });
    assert_eq!(config, expected);

    let bytes = fs::read(dir.join(WEIGHTS)).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let w_enc = tensors.tensor("W_enc").unwrap();
    assert_eq!(w_enc.shape(), [19, 5]);
    assert_eq!(w_enc.data()[4..8], sae.tensor("W_enc")[19].to_le_bytes(), "row 0, column 1 is feature 1, input 0");
    assert!(safetensors::SafeTensors::read_metadata(&bytes).unwrap().1.metadata().is_none());
}

#[test]
fn nothing_is_overwritten_and_nothing_left_behind() {
    let mut sae = example();
    let (root, dir) = saved(&sae);
    let file = root.path().join("file");
    fs::write(&file, "kept").unwrap();
    for taken in [&dir, &file, &root.path().join("sae/..")] {
        assert!(matches!(save(&sae, taken), Err(Error::Exists { .. })), "{taken:?}");
    }
    assert_eq!(load(&dir).unwrap(), sae);
    assert!(matches!(save(&sae, &root.path().join("absent/sae")), Err(Error::Io { .. })));
    sae.tensors[1][3] = f32::NAN;
    assert!(matches!(save(&sae, &root.path().join("new")), Err(Error::Config(_))));
    sae.tensors[1].pop();
    assert!(matches!(save(&sae, &root.path().join("new")), Err(Error::Config(_))));
    drop(Staging::new(&root.path().join("new")).unwrap());
    assert_eq!(names(root.path()), ["file", "sae"]);
}

#[test]
fn half_precision_weights() {
    let sae = example();
    let (_root, dir) = saved(&sae);
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32] {
        let transposed: Vec<f32> = (0..95).map(|i| sae.tensor("W_enc")[i % 5 * 19 + i / 5]).collect();
        let values = |name| if name == "W_enc" { &transposed } else { sae.tensor(name) };
        let shapes = shapes(&sae.config);
        let tensors: Vec<_> =
            shapes.iter().map(|(name, shape)| Tensor::float(name, dtype, shape, values(name))).collect();
        write(&dir.join(WEIGHTS), &tensors, &[("format", "pt")]);
        assert_eq!(load(&dir).unwrap(), sae, "{dtype:?}");
    }
}

#[test]
fn configurations() {
    let (_root, dir) = saved(&example());
    let path = dir.join(CONFIG);
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let cases = [
        ("architecture", json!("temporal"), "\"temporal\" cannot be read"),
        ("architecture", json!("jumprelu"), "no tensor `threshold`, which a jumprelu SAE needs"),
        ("architecture", json!("gated"), "no tensor `b_gate`, which a gated SAE needs"),
        ("architecture", json!("batchtopk"), "no tensor `topk_threshold`, which a batchtopk SAE needs"),
        ("architecture", Value::Null, "no architecture"),
        ("k", Value::Null, "no k"),
        ("k", json!(6), "k is 6"),
        ("k", json!(-1), "-1"),
        ("k", json!(1.5), "1.5"),
        ("d_in", json!(0), "at least one input"),
        ("d_in", json!(18), "[5, 18]"),
        ("d_sae", json!(u64::MAX), "2^32"),
        ("d_sae", Value::Null, "d_sae"),
        ("normalize_activations", json!("constant_norm_rescale"), "constant_norm_rescale"),
        ("normalize_activations", json!("expected_average_only_in"), SCALER),
        ("normalize_activations", json!(true), SCALER),
        ("normalize_activations", json!(3), "normalize_activations is 3"),
        ("activation_fn_str", json!("tanh-relu"), "tanh-relu"),
        ("finetuning_scaling_factor", json!(true), "finetuning_scaling_factor"),
        ("reshape_activations", json!("hook_z"), "hook_z"),
    ];
    for (field, value, expected) in cases {
        let mut config = whole.clone();
        match value {
            Value::Null => drop(config.as_object_mut().unwrap().remove(field)),
            value => config[field] = value,
        }
        fs::write(&path, config.to_string()).unwrap();
        let error = load(&dir).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Data { .. }) && message.contains(expected), "{field}: {message}");
    }
    fs::write(&path, "{").unwrap();
    assert!(matches!(load(&dir), Err(Error::Data { .. })));

    fs::write(&path, r#"{"architecture": "topk", "d_in": 19, "d_sae": 5, "k": 2, "other": 1}"#).unwrap();
    let sae = load(&dir).unwrap();
    assert_eq!(sae.provenance, Provenance::default());
    assert_eq!(sae.config, SaeConfig::top_k(19, 5, 2), "SAELens's defaults");

    fs::remove_file(&path).unwrap();
    assert!(matches!(load(&dir), Err(Error::Data { .. })));
    assert!(matches!(load(&dir.join("absent")), Err(Error::Io { .. })));
}

#[test]
fn weights_must_fit_the_configuration() {
    let sae = example();
    let (_root, dir) = saved(&sae);
    let path = dir.join(WEIGHTS);
    let shapes = shapes(&sae.config);
    let mut holed = vec![0.0; 95];
    holed[2 * 5 + 3] = f32::INFINITY;
    let tensor = |at: usize| {
        let (name, shape) = &shapes[at];
        Tensor::f32(name, shape, &vec![0.0; shape.iter().product()])
    };
    let others = || vec![tensor(0), tensor(2), tensor(3)];
    let cases = [
        (Some(Tensor::f32("W_enc", &[5, 19], &[0.0; 95])), "[5, 19]"),
        (Some(Tensor::f32("W_enc", &[95], &[0.0; 95])), "[95]"),
        (Some(Tensor::f32("W_enc", &[19, 5], &holed)), "`W_enc`, row 2, column 3"),
        (Some(Tensor::new("W_enc", Dtype::F64, &[19, 5], vec![0; 760])), "F64"),
        (Some(Tensor::f32("threshold", &[5], &[0.0; 5])), "no tensor `W_enc`"),
        (None, "no tensor `W_enc`"),
    ];
    for (replacement, expected) in cases {
        let tensors: Vec<_> = others().into_iter().chain(replacement).collect();
        write(&path, &tensors, &[]);
        let message = load(&dir).unwrap_err().to_string();
        assert!(message.contains(WEIGHTS) && message.contains(expected), "{message}");
    }
    let mut tensors = others();
    tensors.extend([tensor(1), Tensor::f32("threshold", &[5], &[0.0; 5])]);
    write(&path, &tensors, &[]);
    assert!(load(&dir).unwrap_err().to_string().contains("\"threshold\" does not belong to a topk SAE"));
    fs::remove_file(&path).unwrap();
    assert!(matches!(load(&dir), Err(Error::Io { .. })));
}

/// Rewrites an example as another architecture, with these fields and further tensors of 5 values.
fn rewritten(dir: &Path, fields: &[(&str, Value)], others: &[(&'static str, [f32; 5])]) {
    let sae = example();
    let path = dir.join(CONFIG);
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fields.iter().for_each(|(name, value)| config[*name] = value.clone());
    fs::write(&path, config.to_string()).unwrap();
    let transposed: Vec<f32> = (0..95).map(|i| sae.tensor("W_enc")[i % 5 * 19 + i / 5]).collect();
    let mut tensors = vec![
        Tensor::f32("W_enc", &[19, 5], &transposed),
        Tensor::f32("b_enc", &[5], sae.tensor("b_enc")),
        Tensor::f32("W_dec", &[5, 19], sae.tensor("W_dec")),
        Tensor::f32("b_dec", &[19], sae.tensor("b_dec")),
    ];
    tensors.extend(others.iter().map(|(name, values)| Tensor::f32(name, &[5], values)));
    if config["architecture"] == "batchtopk" {
        tensors.push(Tensor::new("topk_threshold", Dtype::F64, &[], 0.75_f64.to_le_bytes().to_vec()));
    }
    write(&dir.join(WEIGHTS), &tensors, &[]);
}

#[test]
fn thresholds_are_read_as_they_act() {
    let (_root, dir) = saved(&example());
    let jumprelu = [("architecture", json!("jumprelu"))];
    rewritten(&dir, &jumprelu, &[("threshold", [0.5, -0.25, 0.0, 2.0, -0.0])]);
    assert_eq!(load(&dir).unwrap().tensor("threshold"), [0.5, 0.0, 0.0, 2.0, 0.0]);
    rewritten(&dir, &jumprelu, &[("log_threshold", [0.0, -1.0, 1.0, -200.0, 0.5])]);
    let logarithms = load(&dir).unwrap();
    assert_eq!(logarithms.tensor("threshold"), [0.0, -1.0, 1.0, -200.0, 0.5].map(|t: f64| t.exp() as f32));
    assert_eq!(logarithms.config.architecture, JumpRelu::inference().into());
}

#[test]
fn training_with_batchtopk_is_read_as_jumprelu() {
    let (_root, dir) = saved(&example());
    let sae = example();
    let batchtopk = [("architecture", json!("batchtopk")), ("k", json!(2.5))];
    rewritten(&dir, &batchtopk, &[]);
    let folded = load(&dir).unwrap();
    assert_eq!(folded.tensor("threshold"), [0.75; 5]);
    for (row, (folded, v)) in folded.tensor("W_dec").chunks(19).zip(sae.tensor("W_dec").chunks(19)).enumerate() {
        let norm = v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let close = |a: f32, b: f64| (f64::from(a) - b).abs() <= 1e-7 * b.abs();
        assert!(folded.iter().zip(v).all(|(folded, v)| close(*folded, f64::from(*v) / norm)));
        assert!(close(load(&dir).unwrap().tensor("b_enc")[row], f64::from(sae.tensor("b_enc")[row]) * norm));
    }

    rewritten(&dir, &[("rescale_acts_by_decoder_norm", json!(false))], &[]);
    let plain = load(&dir).unwrap();
    assert_eq!((plain.tensor("W_dec"), plain.tensor("W_enc")), (sae.tensor("W_dec"), sae.tensor("W_enc")));
    assert_eq!(plain.tensor("threshold"), [0.75; 5]);
    assert_eq!(open(&dir).unwrap().trained_as(), "topk", "what the metadata say");
}

#[test]
fn the_scale_of_rows_is_folded() {
    let sae = example();
    let (_root, dir) = saved(&sae);
    rewritten(&dir, &[("normalize_activations", json!("expected_average_only_in"))], &[]);
    fs::write(dir.join(SCALER), r#"{"scaling_factor": 4.0}"#).unwrap();
    let folded = load(&dir).unwrap();
    let times = |name: &str, factor: f32| sae.tensor(name).iter().map(|value| value * factor).collect::<Vec<_>>();
    assert_eq!(folded.tensor("W_enc"), times("W_enc", 4.0));
    assert_eq!((folded.tensor("W_dec"), folded.tensor("b_dec")), (&*times("W_dec", 0.25), &*times("b_dec", 0.25)));
    assert_eq!(folded.tensor("b_enc"), sae.tensor("b_enc"));
    // The threshold of keys in the scale of decoder norms goes with these.
    rewritten(&dir, &[("architecture", json!("batchtopk"))], &[]);
    assert_eq!(load(&dir).unwrap().tensor("threshold"), [0.1875; 5]);
    for bad in [r#"{"scaling_factor": null}"#, r#"{"scaling_factor": 0}"#, "{"] {
        fs::write(dir.join(SCALER), bad).unwrap();
        assert!(matches!(load(&dir), Err(Error::Data { .. })), "{bad}");
    }
}
