//! What `monosem data info` says of activations.

use std::fs;
use std::path::Path;

use monosem::data::{Activations, DataStatistics};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::program::cli::{Files, fail, monosem, noise, succeed, write};
use crate::program::rows::Rows;

const D: usize = 6;

fn info(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[&["data", "info", "--json"], arguments].concat())).unwrap()
}

/// Two files of three: the last is a copy of the first. Row 7 of all has a large norm, row 9 is not finite.
fn files(directory: &Path) -> [String; 3] {
    let mut rows = Rows::random(20);
    rows.values[7 * D..8 * D].fill(-500.0);
    rows.values[9 * D + 2] = f32::NAN;
    let write = |name: &str, from: usize, to: usize| {
        let facts = [("model_name", "a model"), ("part", name)];
        rows.filter(|row| (from..to).contains(&row)).write(&directory.join(name), &facts)
    };
    let [first, second] = [write("a.safetensors", 0, 8), write("b.safetensors", 8, 20)];
    let copy = directory.join("c.safetensors");
    fs::copy(&first, &copy).unwrap();
    [first, second, copy.to_str().unwrap().to_owned()]
}

#[test]
fn what_a_set_is_like_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second, copy] = files(directory.path());
    let line = info(&[&first, &second, &copy]);
    assert_eq!((&line["type"], &line["rows"], &line["d"]), (&"data info".into(), &28.into(), &D.into()));
    assert_eq!((&line["files"], &line["dtypes"]), (&3.into(), &json!([{ "dtype": "F32", "files": 3 }])));
    assert_eq!(line["bytes"], 2 * fs::metadata(&first).unwrap().len() + fs::metadata(&second).unwrap().len());
    assert_eq!(
        (&line["non_finite_rows"], &line["outlier_rows"], &line["shuffled"]),
        (&1.into(), &2.into(), &false.into())
    );
    assert_eq!(line["first_non_finite"], json!({ "path": second, "row": 1 }));
    let norm = 500.0 * f64::sqrt(6.0);
    assert_eq!(line["norm_max"], norm);
    let row = |path: &str| json!({ "path": path, "row": 7, "norm": norm, "token_id": 7 });
    assert_eq!(line["largest_rows"], json!([row(&first), row(&copy)]));
    assert_eq!(line["duplicate_files"], json!([{ "path": copy, "same_as": first }]));
    let column = |name, dtype| json!({ "name": name, "dtype": dtype, "shape": "[rows]", "files": 3 });
    let mut columns = line["columns"].as_array().unwrap().clone();
    columns.sort_by_key(|column| column["name"].to_string());
    assert_eq!(columns, [column("source", "U8"), column("token_ids", "I32")]);
    assert_eq!(
        (&line["metadata"], &line["differing_metadata"]),
        (&json!({ "model_name": "a model" }), &json!(["part"]))
    );

    let table = succeed(&["data", "info", &first, &second, &copy]);
    let values: Vec<(&str, &str)> = table
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| (line.split_whitespace().next().unwrap(), line.split_once("  ").unwrap().1.trim()))
        .collect();
    for (name, value) in [("rows", "28"), ("d", "6"), ("dtype", "F32"), ("non_finite_rows", "1"), ("shuffled", "no")] {
        assert!(values.contains(&(name, value)), "{name}: {table}");
    }
    for words in [
        "\nfirst row that is not finite: row 1 of ",
        "\nlargest rows\n  norm 1224.744871, token 7, row 7 of ",
        "\n  token_ids I32 [rows]\n",
        "\nmetadata\n  model_name = a model\n",
        "\nmetadata that differs between files\n  part\n",
        "\nfiles of the same content\n  ",
    ] {
        assert!(table.contains(words), "{words:?}: {table}");
    }
}

#[test]
fn statistics_are_kept_beside_the_data() {
    let files = Files::new();
    fs::create_dir(files.path("set")).unwrap();
    write(Path::new(&files.path("set/a.safetensors")), 100, noise);
    for (path, kept) in
        [(files.path("set"), "set/statistics.json"), (files.data.clone(), "data.safetensors.statistics.json")]
    {
        let output = monosem(&["data", "info", &path, "--write"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains(&format!("{kept}\n")), "{said}");
        assert!(Path::new(&files.path(kept)).exists());
        let data = Activations::open(&[path.clone().into()]).unwrap();
        let statistics = DataStatistics::read_beside(Path::new(&path), &data).unwrap().unwrap();
        let line = info(&[&path]);
        assert_eq!(line["norm_squared_mean"], statistics.mean_squared_norm);
        assert_eq!(line["gamma"], statistics.gamma());
    }
    fail(&["data", "info", &files.data, &files.path("set"), "--write"], 2, "give only one");
}

#[test]
fn names_are_printed_safely() {
    let files = Files::new();
    let path = files.path("a\n\u{1b}[31m.safetensors");
    let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).unwrap();
    let values = [1.0_f32; 4];
    let tensors = [
        ("activations", view(Dtype::F32, vec![2, 2], bytemuck::cast_slice(&values))),
        ("\u{1b}[32m", view(Dtype::U8, vec![2], &[0; 2])),
    ];
    let metadata = [("\u{1b}[33m".to_owned(), "\u{1b}[34m".to_owned())].into();
    safetensors::serialize_to_file(tensors, Some(metadata), path.as_ref()).unwrap();
    let table = succeed(&["data", "info", &path]);
    assert!(!table.contains('\u{1b}') && table.contains("\\u{1b}[32m U8 [rows]"), "{table}");
    fail(&["data", "info", &files.path("none")], 5, "No such file");
    fail(&["data", "info"], 2, "PATH");
    fail(&["data", "info", "-"], 3, "the stream ended at byte 0");
    fail(&["data", "shuffle", "-", "--out", &files.path("shuffled")], 2, "standard input");
}
