//! `monosem features`: what it writes, against a reference, and what it refuses.

mod fixture;
mod reference;
#[cfg(feature = "text")]
mod text;

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::program::cli::{command, fail, monosem, succeed};
use fixture::{ALL, D, N, Rows, Set, dense_codes, jump_relu, relu, save, whole_sae};
use reference::{Asked, Reference};

const ASKED: Asked = Asked { per_interval: 4, intervals: 5, before: 5, after: 3 };

/// Describes features with the usual numbers of examples.
fn features(sae: &str, data: &[&str], out: &str, more: &[&str]) -> (Value, Set) {
    let intervals: &[&str] = if more.contains(&"--intervals") { &[] } else { &["--intervals", "5"] };
    let asked = ["--examples", "4", "--before", "5", "--after", "3", "--batch", "64", "--json"];
    let asked = [&asked[..], intervals].concat();
    let command = [&["features", "--sae", sae, "--out", out, "--data"], data, &asked, more].concat();
    (serde_json::from_str(&succeed(&command)).unwrap(), Set::read(out))
}

fn path(directory: &tempfile::TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

/// What `monosem encode` writes, `[rows][N]`.
fn encoded(sae: &str, data: &str, out: &str) -> Vec<Vec<f32>> {
    succeed(&["encode", "--sae", sae, "--data", data, "--out", out]);
    let bytes = fs::read(out).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let indices: Vec<i32> = bytemuck::pod_collect_to_vec(tensors.tensor("indices").unwrap().data());
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensors.tensor("values").unwrap().data());
    let offsets: Vec<i64> = match tensors.tensor("offsets") {
        Ok(offsets) => bytemuck::pod_collect_to_vec(offsets.data()),
        Err(_) => {
            let [rows, k] = tensors.tensor("values").unwrap().shape().try_into().unwrap();
            (0..=rows).map(|row| (row * k) as i64).collect()
        }
    };
    let row = |ends: &[i64]| {
        let mut row = vec![0.0; N];
        (ends[0] as usize..ends[1] as usize).for_each(|at| row[indices[at] as usize] = values[at]);
        row
    };
    offsets.windows(2).map(row).collect()
}

#[test]
fn whole_numbers_with_ties_are_described_as_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(500);
    let data = rows.write(directory.path().join("data"), &ALL);
    for (name, architecture) in [("relu", relu()), ("jumprelu", jump_relu())] {
        let sae = whole_sae(architecture);
        let saved = save(&sae, &directory.path().join(name));
        let (line, set) = features(&saved, &[&data], &path(&directory, &format!("{name}-features")), &[]);
        let codes = dense_codes(&sae, &rows.values);
        let reference = Reference { rows: &rows, codes: &codes, asked: ASKED };
        reference.check_statistics(&set, ["W_enc", "W_dec"].map(|name| sae.tensor(name)));
        reference.check_examples(&set, &|row| rows.sequences[row].into());

        let alive = set.integers("count").iter().filter(|count| **count > 0).count();
        let examples: usize = set.lines.iter().map(|line| line["examples"].as_array().unwrap().len()).sum();
        assert_eq!((&line["alive"], &line["examples"]), (&alive.into(), &examples.into()));
        assert_eq!(
            (&line["type"], &line["tokens"], &line["passes"]),
            (&"features".into(), &rows.len().into(), &1.into())
        );
        let said = &set.description;
        assert_eq!((&said["format"], &said["format_version"]), (&"monosem.features".into(), &1.into()));
        assert_eq!((&said["sae"]["features"], &said["sae"]["d_in"]), (&N.into(), &D.into()));
        assert_eq!(said["data"], json!([{ "path": data, "rows": rows.len() }]));
        let has = json!({
            "token_ids": true, "contexts": true, "text": false, "sources": true, "best_dimension": true,
            "neighbors": true, "logits": false, "labels": false,
        });
        assert_eq!((&said["has"], &line["has"]), (&has, &has));
        let missing =
            ["text: no tokenizer was given (--tokenizer)", "logit weights: no unembedding was given (--unembed)"];
        assert_eq!(said["missing"], json!(missing));
    }
}

#[test]
fn trained_saes_are_described_by_their_codes() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(400);
    let data = rows.write(directory.path().join("data"), &ALL);
    for architecture in ["topk", "batchtopk"] {
        let (run, codes) = (path(&directory, architecture), path(&directory, &format!("{architecture}-codes")));
        let sizes = ["--arch", architecture, "--features", "24", "--k", "4", "--batch", "50", "--steps", "30"];
        succeed(&[&["train", "--data", &data, "--out", &run][..], &sizes].concat());
        let codes = encoded(&run, &data, &codes);
        let (_, set) = features(&run, &[&data], &path(&directory, &format!("{architecture}-features")), &[]);
        let sae = monosem::sae::load(Path::new(&run)).unwrap();
        let reference = Reference { rows: &rows, codes: &codes, asked: ASKED };
        reference.check_statistics(&set, ["W_enc", "W_dec"].map(|name| sae.tensor(name)));
        reference.check_examples(&set, &|row| rows.sequences[row].into());
    }
}

#[test]
fn files_that_number_sequences_alike_are_kept_apart() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(300);
    let most = rows.sequences.iter().max().unwrap() + 1;
    // The same numbers again, of other sequences.
    let twice = rows.select((0..rows.len()).chain(0..rows.len()));
    let twice = Rows { values: fixture::integers(6, 2 * rows.len() * D), ..twice };
    let files = [0..rows.len(), rows.len()..2 * rows.len()].map(|range| {
        let part = twice.select(range.clone());
        part.write(directory.path().join(format!("from-{}", range.start)), &ALL)
    });
    let sae = whole_sae(relu());
    let saved = save(&sae, &directory.path().join("sae"));
    let (_, set) = features(&saved, &[&files[0], &files[1]], &path(&directory, "features"), &[]);
    let codes = dense_codes(&sae, &twice.values);
    let reference = Reference { rows: &twice, codes: &codes, asked: ASKED };
    let sequence = |row: usize| i64::from(twice.sequences[row]) + if row < rows.len() { 0 } else { i64::from(most) };
    reference.check_examples(&set, &sequence);
}

#[test]
fn a_shuffled_set_has_the_same_contexts() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(400);
    let data = rows.write(directory.path().join("data.safetensors"), &ALL);
    let [run, shuffled] = ["run", "shuffled"].map(|name| path(&directory, name));
    let sizes = ["--features", "24", "--k", "4", "--batch", "50", "--steps", "30"];
    succeed(&[&["train", "--data", &data, "--out", &run][..], &sizes].concat());
    succeed(&["data", "shuffle", &data, "--out", &shuffled]);
    let [(_, straight), (_, shuffled)] = [(&data, "straight"), (&shuffled, "of-shuffled")]
        .map(|(data, out)| features(&run, &[data], &path(&directory, out), &["--intervals", "1"]));
    for name in ["count", "histogram"] {
        assert_eq!(straight.integers(name), shuffled.integers(name));
    }
    assert_eq!(straight.floats("maximum"), shuffled.floats("maximum"));
    let mut compared = 0;
    for (one, other) in straight.lines.iter().zip(&shuffled.lines) {
        let [one, other] = [one, other].map(|line| {
            let mut examples = line["examples"].as_array().unwrap().clone();
            examples.iter_mut().for_each(|example| example["row"] = Value::Null);
            // Where two have the same value, the rows decide.
            examples.sort_by_key(|example| (example["sequence"].as_i64(), example["position"].as_i64()));
            examples
        });
        let values: Vec<f64> = one.iter().map(|example| example["activation"].as_f64().unwrap()).collect();
        let is_tied = values.iter().enumerate().any(|(at, value)| values[..at].contains(value));
        if !is_tied {
            assert_eq!(one, other);
            compared += one.len();
        }
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn passes_and_batches_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(300);
    let data = rows.write(directory.path().join("data"), &ALL);
    let saved = save(&whole_sae(relu()), &directory.path().join("sae"));
    let out = |name: &str, more: &[&str]| {
        let out = path(&directory, name);
        let (line, _) = features(&saved, &[&data], &out, more);
        let read = |name: &str| fs::read(Path::new(&out).join(name)).unwrap();
        (line["passes"].as_u64().unwrap(), read("statistics.safetensors"), read("examples-00000.jsonl"))
    };
    let one = out("one", &[]);
    let several = out("several", &["--memory", "60K"]);
    assert_eq!(one.0, 1);
    assert!(several.0 > 2, "{}", several.0);
    assert!((&one.1, &one.2) == (&several.1, &several.2));
    // The sums that correlations follow from depend on the first batch.
    let flags = ["--no-best-dimension"];
    let [one, other] = ["64", "300"].map(|batch| {
        let out = path(&directory, &format!("batch-{batch}"));
        let command = ["features", "--sae", &saved, "--data", &data, "--batch", batch, "--out", &out, "--seed", "3"];
        succeed(&[&command[..], &flags].concat());
        let read = |name: &str| fs::read(Path::new(&out).join(name)).unwrap();
        [read("statistics.safetensors"), read("examples-00000.jsonl"), read("features.json")]
    });
    assert!(one == other);
    // Another seed takes other examples, but for the largest.
    let seeds = ["4", "5"].map(|seed| features(&saved, &[&data], &path(&directory, seed), &["--seed", seed]).1.lines);
    let of = |lines: &[Value], interval: usize| -> Vec<Value> {
        let examples = lines.iter().flat_map(|line| line["examples"].as_array().unwrap().clone());
        examples.filter(|example| example["interval"] == interval).collect()
    };
    assert_eq!(of(&seeds[0], 0), of(&seeds[1], 0));
    assert_ne!(of(&seeds[0], 3), of(&seeds[1], 3));
}

const LEFT_OUT: [&str; 3] = ["--no-best-dimension", "--neighbors", "0"];

/// A model's file with the unembedding of a vocabulary.
fn model(directory: &tempfile::TempDir, vocabulary: usize) -> String {
    let unembedding: Vec<f32> = (0..vocabulary * D).map(|at| ((at * 7919) % 101) as f32 - 50.0).collect();
    let view = TensorView::new(Dtype::F32, vec![vocabulary, D], bytemuck::cast_slice(&unembedding)).unwrap();
    let model = path(directory, "model.safetensors");
    safetensors::serialize_to_file([("lm_head.weight", view)], None, model.as_ref()).unwrap();
    model
}

#[test]
fn neighbours_and_logit_weights_are_those_of_their_own_commands() {
    let directory = tempfile::tempdir().unwrap();
    let data = Rows::made(60).write(directory.path().join("data"), &ALL);
    let saved = save(&whole_sae(relu()), &directory.path().join("sae"));
    let model = model(&directory, 50);

    let set = path(&directory, "set");
    let more = ["--neighbors", "3", "--unembed", &model, "--logit-tokens", "4"];
    let (line, _) = features(&saved, &[&data], &set, &more);
    assert_eq!((&line["has"]["neighbors"], &line["has"]["logits"]), (&true.into(), &true.into()));
    let (neighbors, logits) = (path(&directory, "neighbors"), path(&directory, "logits"));
    succeed(&["neighbors", "--sae", &saved, "--count", "3", "--out", &neighbors]);
    succeed(&["logits", "--sae", &saved, "--unembed", &model, "--logit-tokens", "4", "--out", &logits]);
    for (file, other) in [("neighbors.safetensors", &neighbors), ("logits.safetensors", &logits)] {
        assert!(fs::read(Path::new(&set).join(file)).unwrap() == fs::read(other).unwrap(), "{file}");
    }

    // A model of another width: nothing is left behind.
    let narrow = TensorView::new(Dtype::F32, vec![10, 1], &[0; 40]).unwrap();
    safetensors::serialize_to_file([("lm_head.weight", narrow)], None, model.as_ref()).unwrap();
    let again = path(&directory, "again");
    fail(&["features", "--sae", &saved, "--data", &data, "--out", &again, "--unembed", &model], 3, "lm_head.weight");
    assert!(!Path::new(&again).exists());
}

#[test]
fn what_the_data_lack_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(100);
    let saved = save(&whole_sae(relu()), &directory.path().join("sae"));
    let described = |name: &str, columns: &[&str]| {
        let data = rows.write(directory.path().join(name), columns);
        features(&saved, &[&data], &path(&directory, &format!("{name}-features")), &LEFT_OUT).1
    };
    let bare = described("bare", &[]);
    let missing: Vec<String> = serde_json::from_value(bare.description["missing"].clone()).unwrap();
    let words = ["token_ids", "sequence", "source", "--no-best-dimension", "--neighbors", "--unembed"];
    assert_eq!(missing.len(), words.len());
    for (missing, word) in missing.iter().zip(words) {
        assert!(missing.contains(word), "{missing}");
    }
    assert!(bare.description["has"].as_object().unwrap().values().all(|has| has == false));
    assert!(!bare.has("source_count") && !bare.has("best_dimension"));
    let line = bare.lines[0].as_object().unwrap();
    assert!(!line.contains_key("top_tokens"));
    let example = line["examples"][0].as_object().unwrap();
    let mut keys: Vec<&str> = example.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["activation", "interval", "missing_after", "missing_before", "row"]);

    let tokens = described("tokens", &["token_ids", "position"]);
    let example = &tokens.lines[0]["examples"][0];
    let row = example["row"].as_u64().unwrap() as usize;
    assert_eq!((&example["tokens"], &example["focus"]), (&json!([rows.tokens[row]]), &0.into()));
    assert_eq!((&example["activations"][0], &example["sequence"]), (&example["activation"], &Value::Null));

    let contexts = described("contexts", &["sequence", "position"]);
    let example = &contexts.lines[0]["examples"][0];
    assert_eq!((&example["tokens"], example["position"].is_u64()), (&Value::Null, true));
    assert_eq!(example["activations"][example["focus"].as_u64().unwrap() as usize], example["activation"]);
}

#[test]
fn what_nobody_asked_for_is_no_note() {
    let directory = tempfile::tempdir().unwrap();
    let data = Rows::made(60).write(directory.path().join("data"), &["token_ids"]);
    let saved = save(&whole_sae(relu()), &directory.path().join("sae"));
    let out = path(&directory, "set");
    let output = monosem(&[&["features", "--sae", &saved, "--data", &data, "--out", &out][..], &LEFT_OUT].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    let notes: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("note: without ")).collect();
    assert_eq!(notes.len(), 2, "{said}");
    assert!(notes[0].starts_with("contexts: ") && notes[1].starts_with("sources: "), "{said}");
    assert_eq!(Set::read(&out).description["missing"].as_array().unwrap().len(), 6);
}

#[test]
fn rows_that_are_left_out_are_not_counted_and_missing_in_contexts() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(300);
    let data = rows.write(directory.path().join("data"), &ALL);
    let sae = whole_sae(relu());
    let saved = save(&sae, &directory.path().join("sae"));
    let (line, set) = features(&saved, &[&data], &path(&directory, "features"), &["--exclude-tokens", "3,7"]);
    let kept: Vec<usize> = (0..rows.len()).filter(|row| ![3, 7].contains(&rows.tokens[*row])).collect();
    assert_eq!(line["tokens"], kept.len());
    let mut codes = dense_codes(&sae, &rows.values);
    (0..rows.len()).filter(|row| !kept.contains(row)).for_each(|row| codes[row].fill(0.0));
    for (feature, line) in set.lines.iter().enumerate() {
        assert_eq!(set.integers("count")[feature], codes.iter().filter(|row| row[feature] > 0.0).count() as i64);
        for example in line["examples"].as_array().unwrap() {
            assert!(codes[example["row"].as_u64().unwrap() as usize][feature] > 0.0);
            let tokens: Vec<i64> = serde_json::from_value(example["tokens"].clone()).unwrap();
            assert!(tokens.iter().all(|token| ![3, 7].contains(token)));
        }
    }
}

#[test]
fn bad_input_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(100);
    let data = rows.write(directory.path().join("data"), &ALL);
    let saved = save(&whole_sae(relu()), &directory.path().join("sae"));
    let narrow = crate::program::cli::write(&directory.path().join("narrow"), 20, crate::program::cli::noise);
    let before = fs::read_dir(directory.path()).unwrap().count();
    let out = path(&directory, "out");
    let refuse = |data: &str, more: &[&str], code: i32, words: &str| {
        fail(&[&["features", "--sae", &saved, "--data", data, "--out", &out][..], more].concat(), code, words);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before);
    };
    refuse(&narrow, &[], 3, "its rows have 10 values and the SAE takes 6");
    refuse(&data, &["--memory", "100"], 2, "give more memory, or ask for fewer examples");
    refuse(&data, &["--examples", "0"], 2, "must be at least 1");
    refuse(&data, &["--intervals", "65"], 2, "65 intervals: give 1 to 64");
    refuse(&data, &["--before", "1e15"], 2, "tokens before an example: give 0 to 4096");
    let large = Rows { values: vec![f32::MAX; rows.values.len()], ..rows.clone() };
    let large = large.write(directory.path().join("data"), &ALL);
    refuse(&large, &[], 3, "row 0: ");
    fail(&["features", "--sae", &saved, "--data", &large, "--out", &saved], 2, "exists");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing() {
    use std::process::Stdio;
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(3000);
    let data = rows.write(directory.path().join("data"), &ALL);
    let saved = save(&whole_sae(relu()), &directory.path().join("sae"));
    let before = fs::read_dir(directory.path()).unwrap().count();
    let out = path(&directory, "out");
    let arguments = ["features", "--sae", &saved, "--data", &data, "--batch", "1", "--out", &out];
    for signal in ["INT", "KILL"] {
        let mut child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Signals are noted before the directory is begun.
        while fs::read_dir(directory.path()).unwrap().count() == before {
            std::thread::yield_now();
        }
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let status = child.wait().unwrap();
        assert!(!status.success() && !Path::new(&out).exists(), "{status}");
        if signal == "INT" {
            assert_eq!((status.code(), fs::read_dir(directory.path()).unwrap().count()), (Some(130), before));
        }
    }
    // What the killed one left is removed by the next.
    let arguments = ["features", "--sae", &saved, "--data", &data, "--batch", "512", "--out", &out];
    succeed(&arguments);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before + 1);
}
