//! `neighbors` and `logits`, end to end.

use std::path::Path;

use monosem::data::Provenance;
use monosem::sae::{Sae, SaeConfig};
use monosem::selftest::tensors::random;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::program::cli::{fail, succeed};

/// A directory with SAEs.
struct Saes(tempfile::TempDir);

impl Saes {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Saves an SAE of a random encoder and these decoder rows.
    fn save(&self, name: &str, d: usize, w_dec: Vec<f32>) -> String {
        let features = w_dec.len() / d;
        let tensors = vec![random(7, w_dec.len()), random(8, features), w_dec, random(9, d)];
        let provenance = Provenance { model_name: Some("a model".into()), ..Provenance::default() };
        let sae = Sae { config: SaeConfig::top_k(d, features, 1), tensors, provenance };
        let path = self.path(name);
        monosem::sae::save(&sae, Path::new(&path)).unwrap();
        path
    }
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(arguments)).unwrap()
}

#[test]
fn neighbors_are_printed_or_written() {
    let saes = Saes::new();
    let rows = [[1.0, 0.0], [0.0, 1.0], [-3.0, 0.0], [2.0, 0.0], [3.0, 4.0]];
    let (sae, out) = (saes.save("sae", 2, rows.concat()), saes.path("neighbors"));
    let printed = succeed(&["neighbors", "--sae", &sae, "--feature", "0", "4", "--count", "2"]);
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected = [
        ["feature", "neighbor", "cosine"],
        ["0", "3", "1.000000"],
        ["0", "4", "0.600000"],
        ["4", "1", "0.800000"],
        ["4", "0", "0.600000"],
    ];
    assert_eq!(lines, expected);

    let line = json(&["neighbors", "--sae", &sae, "--feature", "1", "--feature", "2", "--count", "1", "--json"]);
    assert_eq!((&line["type"], &line["count"], &line["with"]), (&"neighbors".into(), &1.into(), &Value::Null));
    assert_eq!(line["sae"]["path"], sae.as_str());
    assert_eq!((&line["features"][0]["feature"], &line["features"][0]["neighbors"][0]), (&1.into(), &4.into()));
    assert_eq!((&line["features"][1]["feature"], &line["features"][1]["cosines"][0]), (&2.into(), &0.0.into()));

    let line = json(&["neighbors", "--sae", &sae, "--out", &out, "--json"]);
    assert_eq!((&line["out"], &line["features"], &line["count"]), (&out.as_str().into(), &5.into(), &4.into()));
    let bytes = std::fs::read(&out).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let [neighbors, cosines] = ["neighbors", "cosines"].map(|name| tensors.tensor(name).unwrap());
    assert_eq!((neighbors.dtype(), neighbors.shape()), (Dtype::I32, &[5, 4][..]));
    assert_eq!((cosines.dtype(), cosines.shape()), (Dtype::F32, &[5, 4][..]));
    let neighbors: Vec<i32> = bytemuck::pod_collect_to_vec(neighbors.data());
    assert_eq!(neighbors[..8], [3, 4, 1, 2, 4, 0, 2, 3]);
    let cosines: Vec<f32> = bytemuck::pod_collect_to_vec(cosines.data());
    assert_eq!(cosines[..8], [1.0, 0.6, 0.0, -1.0, 0.8, 0.0, 0.0, 0.0]);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    for (key, value) in [
        ("format", "monosem.neighbors"),
        ("format_version", "1"),
        ("architecture", "topk"),
        ("d_sae", "5"),
        ("model_name", "a model"),
    ] {
        assert_eq!(metadata.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(metadata.contains_key("sae_checksum") && !metadata.contains_key("with"), "{metadata:?}");

    fail(&["neighbors", "--sae", &sae, "--out", &out], 2, "exists");
    fail(&["neighbors", "--sae", &sae], 2, "--out <FILE>|--feature <I>");
    fail(&["neighbors", "--sae", &sae, "--out", &saes.path("other"), "--feature", "1"], 2, "cannot be used with");
    fail(&["neighbors", "--sae", &sae, "--feature", "5"], 2, "no feature 5: the SAE has 5");
}

#[test]
fn neighbors_may_be_those_of_another_sae() {
    let saes = Saes::new();
    let small = saes.save("small", 2, vec![1.0, 0.0, 0.0, 1.0]);
    let large = saes.save("large", 2, vec![0.0, 2.0, 1.0, 0.0, 4.0, 3.0]);
    let wide = saes.save("wide", 3, vec![1.0; 6]);
    let line = json(&["neighbors", "--sae", &small, "--with", &large, "--feature", "0", "1", "--count", "2", "--json"]);
    assert_eq!(line["with"]["path"], large.as_str());
    let neighbors = |at: usize| line["features"][at]["neighbors"].to_string();
    assert_eq!([neighbors(0), neighbors(1)], ["[1,2]", "[0,2]"]);
    let out = saes.path("neighbors");
    succeed(&["neighbors", "--sae", &small, "--with", &large, "--out", &out]);
    let bytes = std::fs::read(&out).unwrap();
    assert_eq!(SafeTensors::deserialize(&bytes).unwrap().tensor("neighbors").unwrap().shape(), [2, 3]);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let with: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["with"]).unwrap();
    assert_eq!(with["path"], large.as_str());
    let words = "have 2 values and those of the other have 3";
    let other = saes.path("other");
    fail(&["neighbors", "--sae", &small, "--with", &wide, "--out", &other], 2, words);
    assert!(!Path::new(&other).exists());
}

#[test]
fn logit_weights_are_written() {
    let saes = Saes::new();
    let (sae, model, out) = (saes.save("sae", 2, vec![1.0, 0.0, 1.0, 3.0]), saes.path("model"), saes.path("logits"));
    let values = [1.0_f32, 0.0, 0.0, 1.0, 2.0, 2.0, -1.0, -5.0];
    let view = |values, shape: &[usize]| TensorView::new(Dtype::F32, shape.to_vec(), values).unwrap();
    let norm = [0.5_f32, 2.0];
    let tensors = [
        ("embed_out.weight", view(bytemuck::cast_slice(&values), &[4, 2])),
        ("final_layer_norm.weight", view(bytemuck::cast_slice(&norm), &[2])),
        ("final_layer_norm.bias", view(bytemuck::cast_slice(&norm), &[2])),
    ];
    safetensors::serialize_to_file(tensors, None, Path::new(&model)).unwrap();
    let read = |out: &str, name: &str| -> Vec<u32> {
        let bytes = std::fs::read(out).unwrap();
        bytemuck::pod_collect_to_vec(SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().data())
    };
    let floats = |out: &str, name: &str| -> Vec<f32> { read(out, name).into_iter().map(f32::from_bits).collect() };
    let arguments = ["logits", "--sae", &sae, "--unembed", &model, "--logit-tokens", "2", "--json"];
    let line = json(&[&arguments[..], &["--out", &out]].concat());
    assert_eq!((&line["type"], &line["features"], &line["tokens"]), (&"logits".into(), &2.into(), &2.into()));
    assert_eq!(line["unembedding_tensor"], "embed_out.weight");
    // [1, 0, 2, -1] and [1, 3, 8, -16].
    assert_eq!(read(&out, "top_tokens"), [2, 0, 2, 1]);
    assert_eq!(floats(&out, "top_logits"), [2.0, 1.0, 8.0, 3.0]);
    assert_eq!(read(&out, "bottom_tokens"), [3, 1, 3, 0]);
    assert_eq!(floats(&out, "bottom_logits"), [-1.0, 0.0, -16.0, 1.0]);
    // Less their means [0.5, -0.5] and [-1, 1], times the weight: [0.25, -1] and [-0.5, 2].
    let normed = saes.path("normed");
    let line = json(&[&arguments[..], &["--final-norm", &model, "--out", &normed]].concat());
    assert_eq!(line["final_norm_kind"], "LayerNorm");
    assert_eq!(floats(&normed, "top_logits"), [4.75, 0.25, 3.0, 2.0]);
    assert_eq!(floats(&normed, "bottom_logits"), [-1.5, -1.0, -9.5, -0.5]);
    let bytes = std::fs::read(&normed).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!((&*metadata["format"], &*metadata["vocabulary"]), ("monosem.logits", "4"));

    let other = saes.path("other");
    fail(&["logits", "--sae", &sae, "--out", &other], 2, "--unembed is needed");
    fail(&["logits", "--sae", &sae, "--out", &other, "--unembed", &model, "--unembed-tensor", "x"], 3, "no tensor `x`");
    fail(&["logits", "--sae", &sae, "--out", &other, "--final-norm", &model], 2, "--unembed");
    fail(&[&arguments[..], &["--out", &out]].concat(), 2, "exists");
    assert!(!Path::new(&other).exists());
}
