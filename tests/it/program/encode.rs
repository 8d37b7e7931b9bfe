//! The file that `monosem encode` writes.

use std::collections::HashMap;
use std::fs;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::program::cli::{Files, fail, noise, succeed, write};
use crate::program::rows::Rows;

fn train(data: &str, out: &str) {
    let sizes = ["--features", "24", "--k", "4", "--batch", "50", "--steps", "2", "--hook-name", "a hook"];
    succeed(&[&["train", "--data", data, "--out", out][..], &sizes].concat());
}

fn metadata(bytes: &[u8]) -> HashMap<String, String> {
    SafeTensors::read_metadata(bytes).unwrap().1.metadata().clone().unwrap()
}

#[test]
fn the_file_says_what_it_is() {
    let files = Files::new();
    let rows = Rows::random(200);
    let facts = [("sources", "[\"books\", \"code\"]"), ("context_size", "128"), ("dataset_path", "a data set")];
    let [first, second] = [0..120, 120..200].map(|range| {
        let path = files.directory.path().join(format!("from-{}", range.start));
        rows.filter(|row| range.contains(&row)).write(&path, &facts)
    });
    let (run, out) = (files.path("run"), files.path("codes"));
    train(&first, &run);
    let encode = ["encode", "--sae", &run, "--data", &first, &second, "--batch", "33", "--json", "--out"];
    let line: Value = serde_json::from_str(&succeed(&[&encode[..], &[&out]].concat())).unwrap();
    let bytes = fs::read(&out).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let names = ["indices", "values", "token_ids", "source"];
    assert_eq!(tensors.len(), names.len());
    let shapes =
        names.map(|name| tensors.tensor(name).unwrap()).map(|tensor| (tensor.dtype(), tensor.shape().to_vec()));
    let codes = [200, 4].to_vec();
    let expected = [(Dtype::I32, codes.clone()), (Dtype::F32, codes), (Dtype::I32, vec![200]), (Dtype::U8, vec![200])];
    assert_eq!(shapes, expected);
    let data = |name| tensors.tensor(name).unwrap().data();
    assert_eq!((data("token_ids"), data("source")), (bytemuck::cast_slice(&rows.tokens), &rows.sources[..]));

    let record: Value = serde_json::from_slice(&fs::read(files.path("run/run.json")).unwrap()).unwrap();
    let checksum = record["sae"]["sae_weights.safetensors"].as_str().unwrap();
    let data = json!([{ "path": first, "rows": 120 }, { "path": second, "rows": 80 }]);
    let mut said = metadata(&bytes);
    assert_eq!(serde_json::from_str::<Value>(&said.remove("data").unwrap()).unwrap(), data);
    let expected = [
        ("format", "monosem.codes"),
        ("format_version", "1"),
        ("monosem_version", env!("CARGO_PKG_VERSION")),
        ("architecture", "topk"),
        ("d_in", "6"),
        ("d_sae", "24"),
        ("k", "4"),
        ("hook_name", "a hook"),
        ("sae_checksum", checksum),
    ];
    assert_eq!(said, expected.into_iter().chain(facts).map(|(key, value)| (key.into(), value.into())).collect());

    assert_eq!((&line["type"], &line["rows"], &line["data"]), (&"encode".into(), &200.into(), &data));
    assert_eq!((&line["sae"]["path"], &line["sae"]["checksum"]), (&run.clone().into(), &checksum.into()));
    assert_eq!((&line["device"], &line["driver"]), (&record["adapter"], &record["driver"]));
    // The same command writes the same bytes.
    let again = files.path("again");
    succeed(&[&encode[..], &[&again]].concat());
    assert!(fs::read(again).unwrap() == bytes);
}

#[test]
fn codes_without_a_fixed_k_have_offsets() {
    let files = Files::new();
    let run = files.path("run");
    let sizes = ["--arch", "batchtopk", "--features", "24", "--k", "4", "--batch", "50", "--steps", "40"];
    succeed(&[&["train", "--data", &files.data, "--out", &run][..], &sizes].concat());
    let encode = |batch: &str, out: &str| {
        let line = succeed(&["encode", "--sae", &run, "--data", &files.data, "--batch", batch, "--json", "--out", out]);
        (serde_json::from_str::<Value>(&line).unwrap(), fs::read(out).unwrap())
    };
    let (line, bytes) = encode("64", &files.path("codes"));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: &str, dtype| {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape().len()), (dtype, 1), "{name}");
        tensor.data().to_vec()
    };
    let offsets: Vec<i64> = bytemuck::pod_collect_to_vec(&data("offsets", Dtype::I64));
    let indices: Vec<i32> = bytemuck::pod_collect_to_vec(&data("indices", Dtype::I32));
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&data("values", Dtype::F32));
    let entries = *offsets.last().unwrap() as usize;
    assert_eq!((offsets[0], indices.len(), values.len()), (0, entries, entries));
    assert_eq!(
        (&line["k"], &line["rows"], &line["entries"]),
        (&Value::Null, &(offsets.len() - 1).into(), &entries.into())
    );
    let rows: Vec<&[i32]> = offsets.windows(2).map(|ends| &indices[ends[0] as usize..ends[1] as usize]).collect();
    assert!(rows.iter().all(|row| row.is_sorted_by(|a, b| a < b) && row.iter().all(|index| *index < 24)));
    // Rows differ in how many they have, and all that is listed is active.
    assert!(rows.iter().any(|row| row.len() != rows[0].len()) && values.iter().all(|value| *value > 0.0));
    let said = metadata(&bytes);
    assert_eq!((said["architecture"].as_str(), said.get("k")), ("jumprelu", None));
    // Neither the batch nor what waits beside the file leaves a trace.
    assert!(encode("7", &files.path("again")).1 == bytes);
    let names = fs::read_dir(files.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("monosem.tmp")));
}

#[test]
fn labels_that_not_all_files_have_are_left_behind() {
    let files = Files::new();
    let run = files.path("run");
    let with = Rows::random(60);
    let with = with.write(&files.directory.path().join("with"), &[]);
    train(&with, &run);
    let without = files.path("without");
    let values = [1.0_f32; 12];
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2, 6], bytemuck::cast_slice(&values)).unwrap();
    safetensors::serialize_to_file([("activations", view)], None, without.as_ref()).unwrap();
    let out = files.path("codes");
    succeed(&["encode", "--sae", &run, "--data", &with, &without, "--out", &out]);
    let bytes = fs::read(&out).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!((tensors.len(), tensors.tensor("values").unwrap().shape()), (2, &[62, 4][..]));
    assert!(!metadata(&bytes).contains_key("sources"));
}

#[test]
fn codes_that_are_not_finite_are_no_codes() {
    let files = Files::new();
    let (run, out) = (files.path("run"), files.path("codes"));
    train(&files.data, &run);
    let row = |at: usize, value: f32| if at / 10 == 123 { value } else { noise(at) };
    let large = write(&files.directory.path().join("large"), 200, |at| row(at, 1e20));
    succeed(&["encode", "--sae", &run, "--data", &large, "--batch", "50", "--out", &out]);
    let bytes = fs::read(&out).unwrap();
    let values = SafeTensors::deserialize(&bytes).unwrap().tensor("values").unwrap().data().to_vec();
    assert!(bytemuck::pod_collect_to_vec::<u8, f32>(&values).iter().all(|value| value.is_finite()));
    fs::remove_file(&out).unwrap();

    let sign = |at: usize| if at.is_multiple_of(2) { f32::MAX } else { -f32::MAX };
    let larger = write(&files.directory.path().join("larger\n"), 200, |at| row(at, sign(at)));
    for batch in ["50", "100", "200", "124"] {
        let words = "larger\\n: row 123: a code is not finite: its values are too large for f32";
        let encode = ["encode", "--sae", &run, "--data", &files.data, &larger, "--batch", batch, "--out", &out];
        fail(&encode, 3, words);
        assert!(!fs::exists(&out).unwrap());
    }
}
