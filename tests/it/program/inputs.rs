//! What activations may come as: many files, other names and types, other formats that are only recognised.

use std::fs;
use std::path::Path;
use std::process::Output;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::program::cli::{self, Files, fail, monosem, noise, program, succeed, write};
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

/// The tensors of a file, without its metadata.
fn tensors_of(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    tensors.sort();
    tensors
}

#[cfg(unix)]
#[test]
fn more_files_than_may_be_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (all, shards) = (Rows::random(600), path("shards"));
    fs::create_dir(&shards).unwrap();
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
        (fs::read(out.join("sae/sae_weights.safetensors")).unwrap(), cli::measures(&measures), tensors_of(&codes))
    };
    let expected = results(&whole, "whole-run", &monosem);
    assert!(results(text(&shards), "shards-run", &|arguments| limited(64, arguments)) == expected);

    let output = limited(4, &["encode", "--sae", text(&path("whole-run")), "--data", &whole, "--out", "x"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(message.contains("this process's limit on open files") && message.contains("ulimit -n"), "{message}");
}

/// What the program says on stderr while it succeeds.
fn notes(arguments: &[&str]) -> String {
    let output = monosem(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn other_formats_are_named_with_the_line_that_converts_them() {
    let files = Files::new();
    let (out, sae) = (files.path("out"), files.path("sae"));
    succeed(&[&["train", "--data", &files.data, "--out", &sae], &SIZES[..]].concat());
    let array = files.path("it's\n.h5");
    fs::write(&array, b"\x89HDF\r\n\x1a\n\0").unwrap();
    for words in
        ["it\\'s\\n.h5: is an HDF5 file, which is not read", "h5py.File(sys.argv[1])", "it\\'s\\n.safetensors'"]
    {
        fail(&[&["train", "--data", &array, "--out", &out], &SIZES[..]].concat(), 3, words);
        fail(&["eval", "--sae", &sae, "--data", &array], 3, words);
        fail(&["encode", "--sae", &sae, "--data", &array, "--out", &out], 3, words);
        fail(&["plan", "--data", &array, "--features", "20"], 3, words);
        fail(&["bench", "--data", &array, "--features", "20"], 3, words);
    }
    let pointers = files.path("pointers");
    fs::create_dir_all(Path::new(&pointers).join("deeper")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    fs::write(Path::new(&pointers).join("deeper/a.safetensors"), pointer).unwrap();
    let train =
        |data: &str, words: &str| fail(&[&["train", "--data", data, "--out", &out], &SIZES[..]].concat(), 3, words);
    train(&pointers, "is not searched deeper; give e.g. ");
    train(&pointers, "pointers/deeper, which has some");
    train(&format!("{pointers}/deeper"), "a.safetensors: is a pointer of Git LFS, which is not read; get the file");
    assert!(!Path::new(&out).exists());
}

/// The same rows in another format end with the same bits.
#[test]
fn formats_are_found_by_content() {
    let files = Files::new();
    let bytes = fs::read(&files.data).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let rows = tensors.tensor("activations").unwrap();
    let [count, width] = [rows.shape()[0], rows.shape()[1]];
    let descriptor = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {width}), }}");
    let header = format!("{descriptor:<117}\n");
    let npy = [b"\x93NUMPY\x01\x00v\x00", header.as_bytes(), rows.data()].concat();
    let array = files.path("no extension");
    fs::write(&array, npy).unwrap();
    let index = files.path("data.safetensors.index.json");
    fs::write(&index, r#"{"weight_map": {"activations": "data.safetensors"}}"#).unwrap();
    let weights = |data: &str, name: &str, order: &str| {
        let out = files.path(name);
        succeed(&[&["train", "--data", data, "--out", &out, "--order", order], &SIZES[..]].concat());
        fs::read(Path::new(&out).join("sae/sae_weights.safetensors")).unwrap()
    };
    for order in ["rows", "mixed", "sequential"] {
        let expected = weights(&files.data, &format!("{order}-run"), order);
        assert!(weights(&array, &format!("{order}-npy"), order) == expected, "{order}");
        assert!(weights(&index, &format!("{order}-index"), order) == expected, "{order}");
    }
}

/// What is stored in fewer bits is the same on the device.
#[test]
fn rows_in_f16_have_the_bits_of_the_same_rows_in_f32() {
    let files = Files::new();
    let half = |at: usize| half::f16::from_f32(noise(at)).to_f32();
    let whole = write(&files.directory.path().join("f32.safetensors"), 500, half);
    let (converted, widened) = (files.path("f16"), files.path("bf16"));
    succeed(&["data", "convert", &whole, "--out", &converted, "--dtype", "f16"]);
    let brain = |at: usize| half::bf16::from_f32(noise(at)).to_f32();
    let brains = write(&files.directory.path().join("of-bf16.safetensors"), 500, brain);
    succeed(&["data", "convert", &brains, "--out", &widened, "--dtype", "bf16"]);
    for [one, other] in [[&whole, &converted], [&brains, &widened]] {
        let results = [one, other].map(|data| {
            let out = format!("{data}-run");
            // An order that depends on no size in bytes.
            succeed(&[&["train", "--data", data, "--out", &out, "--order", "rows"], &SIZES[..]].concat());
            let eval = cli::measures(succeed(&["eval", "--sae", &out, "--data", data, "--json"]).as_bytes());
            (fs::read(Path::new(&out).join("sae/sae_weights.safetensors")).unwrap(), eval)
        });
        assert!(results[0] == results[1], "{other}");
    }
}

/// A resume in another order would train on other rows.
#[test]
fn another_order_is_refused_by_name() {
    let files = Files::new();
    let out = files.path("run");
    let order = ["--order", "mixed", "--mixing-buffer", "1KiB"];
    succeed(&[&["train", "--data", &files.data, "--out", &out], &SIZES[..], &order].concat());
    fs::remove_dir_all(Path::new(&out).join("sae")).unwrap();
    let record = Path::new(&out).join("run.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"state\": \"done\"", "\"state\": \"interrupted\"")).unwrap();
    for (flags, words) in [
        (["--order", "rows"], "--order is \"rows\" and was \"mixed\" when the run began"),
        (["--mixing-buffer", "1MiB"], "--mixing-buffer is \"1MiB\" and was \"1KiB\" when the run began"),
    ] {
        fail(&[&["train", "--out", &out, "--resume"], &flags[..]].concat(), 2, words);
    }
}

/// A pipe would wait for its writer.
#[cfg(unix)]
#[test]
fn a_pipe_is_refused() {
    let files = Files::new();
    let pipe = files.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fail(&["plan", "--data", &pipe, "--features", "64"], 3, "pipe: is not a regular file");
}

#[test]
fn metadata_that_are_no_strings_are_named() {
    let files = Files::new();
    let path = files.path("numbers");
    let header =
        r#"{"__metadata__":{"context_size":128},"activations":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}"#;
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()).unwrap();
    let words = "metadata key `context_size` is a number; the format allows only strings, e.g. \"128\"; write the file";
    fail(&["plan", "--data", &path, "--features", "20"], 3, words);
}

#[test]
fn the_rows_may_be_a_tensor_of_any_name() {
    let files = Files::new();
    let path = |name: &str| files.path(name);
    let values: Vec<f32> = (0..5000).map(noise).collect();
    let view = |shape: &[usize]| TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(&values)).unwrap();
    let named = path("named");
    let tensors = [("resid post", view(&[500, 10])), ("flat", view(&[5000])), ("whole", view(&[5, 100, 10]))];
    safetensors::serialize_to_file(tensors, None, Path::new(&named)).unwrap();

    let train = |data: &str, out: &str, more: &[&str]| {
        [&["train", "--data", data, "--out", out], &SIZES[..], more].concat().into_iter().map(str::to_owned).collect()
    };
    let run = |arguments: Vec<String>| succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let refuse = |arguments: Vec<String>, code, words: &str| {
        fail(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), code, words);
    };
    let (usual, other, again) = (path("usual"), path("other"), path("again"));
    run(train(&files.data, &usual, &[]));
    run(train(&named, &other, &["--tensor", "resid post"]));
    fs::write(path("config.toml"), format!("data = {named:?}\ntensor = \"resid post\"\n")).unwrap();
    run([&["train", "--config", &path("config.toml"), "--out", &again], &SIZES[..]]
        .concat()
        .iter()
        .map(|&x| x.to_owned())
        .collect());
    let weights = |out: &str| fs::read(Path::new(out).join("sae/sae_weights.safetensors")).unwrap();
    assert!(weights(&usual) == weights(&other) && weights(&usual) == weights(&again));
    refuse(train(&named, &path("third"), &[]), 3, "has no tensor `activations` (it has: ");
    refuse(train(&named, &path("third"), &[]), 3, "the rows with --tensor, e.g. --tensor 'resid post'");
    refuse(train(&named, &path("none"), &["--tensor", "flat"]), 3, "tensor `flat` has shape [5000]");
    refuse(train(&named, &path("none"), &["--tensor", "whole"]), 3, "flatten it: x.reshape(-1, 10)");

    let tensor = ["--tensor", "resid post", "--json"];
    let eval = |data: &str, more: &[&str]| succeed(&[&["eval", "--sae", &usual, "--data", data], more].concat());
    let measured = |said: String| cli::measures(said.as_bytes());
    assert_eq!(measured(eval(&named, &tensor)), measured(eval(&files.data, &["--json"])));
    for (data, codes, more) in [(&named, "a", &tensor[..]), (&files.data, "b", &[])] {
        succeed(&[&["encode", "--sae", &usual, "--data", data, "--out", &path(codes)], more].concat());
    }
    assert!(tensors_of(Path::new(&path("a"))) == tensors_of(Path::new(&path("b"))));
    let plan = succeed(
        &[&["plan", "--data", &named, "--features", "20", "--k", "4", "--assume-memory", "1GiB"], &tensor[..]].concat(),
    );
    assert_eq!(serde_json::from_str::<Value>(&plan).unwrap()["d_in"], 10);
    succeed(&[&["bench", "--data", &named, "--features", "20", "--k", "4", "--batch", "10"], &tensor[..]].concat());
    fail(&["plan", "--d", "10", "--tensor", "x", "--features", "20"], 2, "cannot be used with");
    fail(&["bench", "--tensor", "x", "--features", "20"], 2, "--data");
}

#[test]
fn equal_settings_are_equal_text() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let data = Rows::random(200).write(Path::new(&path("data")), &[]);
    let out = path("run");
    let train = |more: &[&str]| succeed(&[&["train", "--data", &data, "--out", &out], &SIZES[..], more].concat());
    train(&["--exclude-tokens", "3,1,3"]);
    let config = |out: &str| fs::read_to_string(Path::new(out).join("config.toml")).unwrap();
    assert!(config(&out).contains("exclude-tokens = [1, 3]\n"), "{}", config(&out));
    train(&["--resume", "--exclude-tokens", "1,1,3"]);
    // As an older version may have written it.
    fs::write(Path::new(&out).join("config.toml"), config(&out).replace("[1, 3]", "[3, 1]")).unwrap();
    train(&["--resume", "--exclude-tokens", "1,3"]);

    let (one, file) = (path("one"), path("config"));
    fs::write(&file, format!("data = {data:?}\nexclude-tokens = 5\n")).unwrap();
    let said = notes(&[&["train", "--config", &file, "--out", &one], &SIZES[..]].concat());
    assert!(said.contains("excluded 20 of 200 rows"), "{said}");
    assert!(config(&one).contains("exclude-tokens = [5]\n"), "{}", config(&one));
}

#[test]
fn sources_that_cannot_be_used_are_a_note() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let rows = Rows::random(60);
    let (plain, out) = (rows.write(Path::new(&path("plain")), &[]), path("run"));
    succeed(&[&["train", "--data", &plain, "--out", &out], &SIZES[..]].concat());
    let eval =
        |data: &str, more: &[&str]| monosem(&[&["eval", "--json", "--sae", &out, "--data", data], more].concat());
    let expected = cli::measures(&eval(&plain, &[]).stdout);
    let numbers: Vec<i64> = (0..60).map(|row| if row == 45 { 1 << 40 } else { row % 3 }).collect();
    for (name, dtype, shape, bytes, words) in [
        ("type", Dtype::F32, vec![60], vec![0; 240], "tensor `source` is F32; write it as U8, "),
        ("shape", Dtype::U8, vec![30], vec![0; 30], "tensor `source` has shape [30]"),
        ("value", Dtype::I64, vec![60], bytemuck::cast_slice(&numbers).to_vec(), "`source`, row 45 is 1099511627776"),
    ] {
        let data = path(name);
        let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).unwrap();
        let values = view(Dtype::F32, vec![60, rows.values.len() / 60], bytemuck::cast_slice(&rows.values));
        let tensors = [("activations", values), ("source", view(dtype, shape, &bytes))];
        safetensors::serialize_to_file(tensors, None, Path::new(&data)).unwrap();
        let output = eval(&data, &["--batch", "20"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("note: nothing is measured by source: ") && said.contains(words), "{said}");
        assert_eq!(said.matches("by source").count(), 1, "{said}");
        let mut expected = expected.clone();
        expected.as_object_mut().unwrap().remove("sources").unwrap();
        assert_eq!(cli::measures(&output.stdout), expected);
        // Its codes go without it, where it could be carried along.
        let said = notes(&["encode", "--sae", &out, "--data", &data, "--out", &path(&format!("{name}-codes"))]);
        assert_eq!(said.contains("`source` is not carried along"), name != "value", "{said}");
    }
}

#[test]
fn a_file_given_twice_counts_twice_with_a_note() {
    let files = Files::new();
    let (one, two) = (files.path("one.safetensors"), files.path("two.safetensors"));
    fs::remove_file(&files.data).unwrap();
    write(Path::new(&one), 20, noise);
    write(Path::new(&two), 20, noise);
    let directory = files.directory.path().to_str().unwrap();
    let train = |data: &[&str], out: &str| {
        notes(&[&["train", "--data"], data, &["--out", &files.path(out)], &SIZES[..]].concat())
    };
    let note = "given more than once";
    assert!(!train(&[directory], "a").contains(note));
    let said = train(&[directory, &one], "b");
    assert!(said.contains(note) && said.contains("one.safetensors"), "{said}");
}
