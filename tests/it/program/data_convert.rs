//! Activations that `monosem data convert` writes again.

use std::fs;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::program::cli::{Files, fail, noise, succeed, write};
use crate::program::rows::Rows;

const D: usize = 6;

#[test]
fn rows_and_columns_are_written_in_the_type_asked_for() {
    let files = Files::new();
    let rows = Rows::random(50);
    let facts = [("sources", "[\"books\", \"code\", \"web\"]"), ("model_name", "a model")];
    let parts = [0..20, 20..50].map(|range| {
        let path = files.directory.path().join(format!("from-{}", range.start));
        rows.filter(|row| range.contains(&row)).write(&path, &facts)
    });
    let out = files.path("out");
    let convert = ["data", "convert", &parts[0], &parts[1], "--dtype", "bf16", "--shard-rows", "30", "--out", &out];
    let line: Value = serde_json::from_str(&succeed(&[&convert[..], &["--json"]].concat())).unwrap();
    assert_eq!((&line["type"], &line["rows"], &line["files"]), (&"data convert".into(), &50.into(), &2.into()));
    assert_eq!((&line["dtype"], &line["notes"], &line["d"]), (&"BF16".into(), &json!([]), &D.into()));
    let mut start = 0;
    for (name, count) in [("part-00000-of-00002.safetensors", 30), ("part-00001-of-00002.safetensors", 20)] {
        let bytes = fs::read(files.path(&format!("out/{name}"))).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let values = tensors.tensor("activations").unwrap();
        assert_eq!((values.dtype(), values.shape()), (Dtype::BF16, &[count, D][..]));
        let expected: Vec<u8> = rows.values[start * D..(start + count) * D]
            .iter()
            .flat_map(|&value| half::bf16::from_f32(value).to_le_bytes())
            .collect();
        assert!(values.data() == expected);
        let data = |name| tensors.tensor(name).unwrap().data().to_vec();
        assert_eq!(data("source"), rows.sources[start..][..count]);
        assert_eq!(data("token_ids"), bytemuck::cast_slice::<i32, u8>(&rows.tokens[start..][..count]));
        let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
        assert_eq!(metadata, facts.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        start += count;
    }
    // It is a set like any other.
    let info: Value = serde_json::from_str(&succeed(&["data", "info", &out, "--json"])).unwrap();
    assert_eq!((&info["rows"], &info["dtypes"][0]["dtype"]), (&50.into(), &"BF16".into()));
    fail(&convert, 2, "exists, and nothing is overwritten");
}

#[test]
fn values_that_do_not_fit_leave_nothing_behind() {
    let files = Files::new();
    let out = files.path("out");
    let before = fs::read_dir(files.directory.path()).unwrap().count();
    let large = write(&files.directory.path().join("large"), 20, |at| if at == 57 { 1e6 } else { noise(at) });
    let words = "large: tensor `activations`, row 5, column 7 is 1e6, too large for F16; convert to bf16 or f32";
    fail(&["data", "convert", &files.data, &large, "--dtype", "f16", "--out", &out], 3, words);
    let bad = write(&files.directory.path().join("bad"), 20, |at| if at == 57 { f32::NAN } else { noise(at) });
    fail(&["data", "convert", &bad, "--out", &out], 3, "bad: tensor `activations`, row 5, column 7 is NaN");
    fail(&["data", "convert", &files.data, "--dtype", "f64", "--out", &out], 2, "f64");
    fail(&["data", "convert", &files.data, "--shard-rows", "0", "--out", &out], 2, "at least 1");
    assert_eq!(fs::read_dir(files.directory.path()).unwrap().count(), before + 2);
    succeed(&["data", "convert", &files.data, &large, "--dtype", "bf16", "--out", &out]);
}
