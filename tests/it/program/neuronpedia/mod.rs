//! `monosem neuronpedia`, against the set that it exports and the columns of Neuronpedia's tables.

mod columns;
mod fixture;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::cli::monosem;
use columns::{ACTIVATION, EXPLANATION, NEURON, RECORDS, columns, is_of};
use fixture::{Set, files, floats, imported};

#[test]
fn every_line_has_the_columns_of_its_table() {
    let set = Set::new();
    let (said, source) = set.export();
    let counts = ["features", "without_examples", "activations", "explanations", "batches"].map(|key| &said[key]);
    assert_eq!(counts, [200, 4, 196 * 16, 2, 1].map(Value::from).each_ref());
    assert_eq!((&said["source"], &said["missing"]), (&"tiny/1-res-200".into(), &json!([])));
    let kinds = ["activations", "explanations", "features"].map(|kind| format!("{kind}/batch-0.jsonl.gz"));
    let records = ["model", "release", "source", "sourceset"].map(|record| format!("{record}.jsonl"));
    assert_eq!(files(&source), [&kinds[..], &records].concat());

    for (kind, table, lines) in
        [("features", NEURON, 200), ("activations", ACTIVATION, 196 * 16), ("explanations", EXPLANATION, 2)]
    {
        let read = imported(&source.join(format!("{kind}/batch-0.jsonl.gz")));
        assert_eq!(read.len(), lines, "{kind}");
        for line in read.iter().map(|line| line.as_object().unwrap()) {
            let all = columns(table);
            assert_eq!(line.len(), all.len(), "{kind}: {:?}", line.keys());
            for (column, kind) in all {
                assert!(is_of(&line[column], kind), "{column}: {}", line[column]);
            }
            let owner = if kind == "explanations" { "authorId" } else { "creatorId" };
            assert_eq!([&line["modelId"], &line["layer"], &line[owner]], ["tiny", "1-res-200", "c1"]);
        }
    }
    let record = |name: &str| -> Value {
        let text = fs::read_to_string(source.join(name)).unwrap();
        serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap()
    };
    for (name, required) in RECORDS {
        for (column, kind) in columns(required) {
            assert!(is_of(&record(name)[column], kind), "{name}: {column}");
        }
        assert_eq!(record(name)["creatorId"], "c1");
    }
    // What refers to something names it.
    let [release, model, of_set, of_source] = RECORDS.map(|(name, _)| record(name));
    assert_eq!([&release["name"], &of_set["releaseName"]], ["res-200"; 2]);
    assert_eq!([&model["id"], &of_set["modelId"], &of_source["modelId"]], ["tiny"; 3]);
    assert_eq!([&of_set["name"], &of_source["setName"], &of_source["id"]], ["res-200", "res-200", "1-res-200"]);
    assert_eq!([&release["description"], &of_set["description"]], ["200 features, topk, blocks.1.hook_resid_post"; 2]);
}

#[test]
fn features_have_the_numbers_of_their_set() {
    let set = Set::new();
    let (_, source) = set.export();
    let tokens = 100_000.0;
    let (counts, maxima) =
        (set.rows::<i64>("statistics.safetensors", "count"), set.rows::<f32>("statistics.safetensors", "maximum"));
    let histograms = set.rows::<i64>("statistics.safetensors", "histogram");
    let neighbors = set.rows::<i32>("neighbors.safetensors", "neighbors");
    let cosines = set.rows::<f32>("neighbors.safetensors", "cosines");
    let [top, bottom] = ["top", "bottom"].map(|end| {
        let tokens = set.rows::<i32>("logits.safetensors", &format!("{end}_tokens"));
        (tokens, set.rows::<f32>("logits.safetensors", &format!("{end}_logits")))
    });
    for (feature, line) in imported(&source.join("features/batch-0.jsonl.gz")).iter().enumerate() {
        assert_eq!(line["index"], feature.to_string());
        assert_eq!(line["frac_nonzero"], counts[feature][0] as f64 / tokens);
        assert_eq!(floats(&json!([line["maxActApprox"]])), maxima[feature]);
        let heights: Vec<i64> = serde_json::from_value(line["freq_hist_data_bar_heights"].clone()).unwrap();
        let middles = floats(&line["freq_hist_data_bar_values"]);
        if counts[feature][0] == 0 {
            assert!(heights.is_empty() && middles.is_empty());
        } else {
            assert_eq!(heights.iter().sum::<i64>(), histograms[feature].iter().sum::<i64>(), "{feature}");
            assert_eq!((heights.len(), middles.len()), (50, 50));
            let width = f64::from(maxima[feature][0]) / 50.0;
            for (at, middle) in middles.iter().enumerate() {
                assert!((f64::from(*middle) - (at as f64 + 0.5) * width).abs() < 1e-6, "{feature}: {middle}");
            }
        }
        // The first is taken for the feature itself.
        assert_eq!(line["topkCosSimIndices"], json!([&[feature as i32][..], &neighbors[feature]].concat()));
        assert_eq!(floats(&line["topkCosSimValues"]), [&[1.0][..], &cosines[feature]].concat());
        for (end, (tokens, weights)) in [("pos", &top), ("neg", &bottom)] {
            let texts = line[format!("{end}_str")].as_array().unwrap();
            assert_eq!((texts.len(), &texts[4]), (tokens[feature].len(), &"#999".into()));
            assert_eq!(floats(&line[format!("{end}_values")]), weights[feature]);
        }
    }
    let labels = imported(&source.join("explanations/batch-0.jsonl.gz"));
    for (line, label) in labels.iter().zip(set.lines("labels.jsonl")) {
        assert_eq!(line["index"], label["feature"].to_string());
        assert_eq!((&line["description"], &line["notes"]), (&label["label"], &"score 0.87".into()));
    }
}

#[test]
fn activations_are_the_examples_of_their_set() {
    let set = Set::new();
    let (_, source) = set.export();
    let (counts, maxima) =
        (set.rows::<i64>("statistics.safetensors", "count"), set.rows::<f32>("statistics.safetensors", "maximum"));
    let histograms = set.rows::<i64>("statistics.safetensors", "histogram");
    let edge = |at: usize| (at as f64 / 2.0 - 12.0).exp2();
    // Rows between two activations, those of a bin evenly spread from edge to edge or to the maximum.
    let between = |feature: usize, from: f64, to: f64| -> f64 {
        let most = f64::from(maxima[feature][0]);
        let share = |bin: usize| {
            let ends = [if bin == 0 { 0.0 } else { edge(bin) }, if bin == 39 { most } else { edge(bin + 1).min(most) }];
            let common = to.min(ends[1]) - from.max(ends[0]);
            // The set has rows in bins above the maximum too.
            let is_at_maximum = from < ends[1] && ends[1] <= to;
            if ends[0] < ends[1] { common.max(0.0) / (ends[1] - ends[0]) } else { f64::from(is_at_maximum) }
        };
        (0..40).map(|bin| histograms[feature][bin] as f64 * share(bin)).sum()
    };
    let lines = imported(&source.join("activations/batch-0.jsonl.gz"));
    let mut activations = lines.iter();
    let mut ids = std::collections::HashSet::new();
    for line in set.lines("examples-00000.jsonl") {
        let feature = line["feature"].as_u64().unwrap() as usize;
        let maximum = f64::from(maxima[feature][0]);
        for example in line["examples"].as_array().unwrap() {
            let written = activations.next().unwrap();
            assert_eq!(written["index"], feature.to_string());
            assert!(ids.insert(written["id"].as_str().unwrap().to_owned()));
            let shown = |text: &Value| text.as_str().unwrap().replace('\0', "\u{2400}");
            let tokens: Vec<String> = example["text"].as_array().unwrap().iter().map(shown).collect();
            assert_eq!(written["tokens"], json!(tokens));
            let values = floats(&written["values"]);
            assert_eq!(values, floats(&example["activations"]));
            let greatest = values.iter().copied().fold(f32::MIN, f32::max);
            let place = values.iter().position(|value| *value == greatest);
            assert_eq!(floats(&json!([written["maxValue"], written["minValue"]])), [greatest, 0.0]);
            assert_eq!((&written["maxValueTokenIndex"], &written["qualifyingTokenIndex"]), (&json!(place), &5.into()));
            assert_eq!(written["dataSource"], example["source"]);
            let bin = ["binMin", "binMax", "binContains"].map(|key| written[key].as_f64().unwrap());
            let expected = match example["interval"].as_u64().unwrap() {
                0 => [-1.0, maximum, -1.0],
                interval => {
                    let [from, to] = [3 - interval, 4 - interval].map(|part| maximum * part as f64 / 3.0);
                    let silent = if from == 0.0 { 100_000 - counts[feature][0] } else { 0 };
                    [from, to, (between(feature, from, to) + silent as f64) / 100_000.0]
                }
            };
            for (found, expected) in bin.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9, "{feature}: {bin:?}, not {expected}");
            }
        }
    }
    assert_eq!((activations.next(), ids.len()), (None, lines.len()));
    assert!(ids.iter().all(|id| id.len() == 25 && id.starts_with('c')));
}

#[test]
fn an_export_depends_on_its_set_alone() {
    let [first, second] = [(); 2].map(|()| Set::new());
    let [(_, one), (_, other)] = [&first, &second].map(Set::export);
    for file in files(&one) {
        assert!(fs::read(one.join(&file)).unwrap() == fs::read(other.join(&file)).unwrap(), "{file}");
    }
}

#[test]
fn what_a_set_lacks_is_said() {
    let set = Set::new();
    for file in ["logits.safetensors", "neighbors.safetensors", "labels.jsonl"] {
        fs::remove_file(Path::new(&set.path("set")).join(file)).unwrap();
    }
    // As the program derives it from a name on Hugging Face.
    set.change("features.json", |text| {
        let mut description: Value = serde_json::from_str(text).unwrap();
        description["sae"]["model_name"] = "an-author/Tiny-2-it".into();
        description.to_string()
    });
    let command = set.command(&["--layer", "0"]);
    let output = monosem(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8(output.stderr).unwrap();
    for words in ["note: without logits: ", "note: without similar features: ", "note: without explanations: "] {
        assert!(said.contains(words), "{said}");
    }
    let source = PathBuf::from(set.path("out/tiny-2-it/0-res-200"));
    assert!(said.contains(source.to_str().unwrap()) && !source.join("explanations").exists(), "{said}");
    let first = &imported(&source.join("features/batch-0.jsonl.gz"))[0];
    for column in ["pos_str", "pos_values", "neg_str", "neg_values", "topkCosSimIndices", "topkCosSimValues"] {
        assert_eq!(first[column], json!([]), "{column}");
    }
    let model: Value = serde_json::from_slice(&fs::read(source.join("model.jsonl")).unwrap()).unwrap();
    assert_eq!(model["instruct"], true);
}

#[test]
fn what_cannot_be_exported_is_refused_and_leaves_nothing() {
    let set = Set::new();
    let named = ["--model-id", "tiny"];
    set.refuse(&[], 2, "is no name on Neuronpedia: give --model-id 1 to 128 letters");
    set.refuse(&[&named[..], &["--release", "../up"]].concat(), 2, "'../up' is no name on Neuronpedia: give --release");
    set.refuse(&[&named[..], &["--layer", "-1"]].concat(), 2, "--layer");
    let hook = |hook: Value| {
        set.change("features.json", |text| {
            let mut description: Value = serde_json::from_str(text).unwrap();
            description["sae"]["hook_name"] = hook.clone();
            description.to_string()
        });
    };
    hook("hidden_states.3".into());
    let words = "the set's hook name, 'hidden_states.3', names no layer, as blocks.3 or layers.3 do: give --layer";
    set.refuse(&named, 2, words);
    hook(Value::Null);
    set.refuse(&named, 2, "the set has no hook name, as blocks.3 or layers.3 do: give --layer");
    let named = ["--model-id", "tiny", "--layer", "3"];

    let set = Set::new();
    set.change("examples-00000.jsonl", |text| text.replacen("\"interval\":3", "\"interval\":4", 1));
    set.refuse(&named, 3, "feature 0 has an example of interval 4, and there are 4; write the set again");
    let set = Set::new();
    set.change("examples-00000.jsonl", |text| text.replacen("\"activations\":[0.0", "\"activations\":[1e39", 1));
    set.refuse(&named, 3, "number out of range");
    let set = Set::new();
    set.change("features.json", |text| text.replacen("-12.0,", "", 1));
    set.refuse(&named, 3, "has 40 bins in `histogram` of feature 0, and features.json 40 edges of bins");
    let set = Set::new();
    set.change("examples-00000.jsonl", |text| text.replace("\"text\":[", "\"other\":["));
    set.refuse(&named, 3, "its examples have no text: write the set with `monosem features --tokenizer`");
    let set = Set::new();
    let silent = |feature: usize| json!({"feature": feature, "top_tokens": [], "examples": []}).to_string() + "\n";
    set.change("examples-00000.jsonl", |_| (0..200).map(silent).collect());
    set.refuse(&named, 3, "no feature has an example, so that there is nothing to show");
    fs::create_dir(set.path("out")).unwrap();
    set.refuse(&named, 2, "exists");
    fs::remove_dir_all(set.path("set")).unwrap();
    fs::create_dir(set.path("set")).unwrap();
    set.refuse(&named, 3, "has no features.json: name a directory that `monosem features` wrote");
}
