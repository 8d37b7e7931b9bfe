//! `label export` and `label import`.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::program::cli::{fail, succeed};

/// A set of three features: one in text, one of one token, one that never fired.
fn write_set(path: &Path) {
    fs::create_dir_all(path).unwrap();
    let description = json!({
        "format": "monosem.features", "format_version": 1, "monosem_version": "0.1.0", "data": [], "tokens": 100,
        "sae": {"path": "sae", "architecture": "topk", "d_in": 4, "features": 3},
        "examples": {"per_interval": 2, "intervals": 3, "before": 2, "after": 1, "seed": 0},
        "has": {"text": true, "labels": false}, "missing": [], "sources": [], "special_tokens": [],
    });
    fs::write(path.join("features.json"), description.to_string()).unwrap();
    let counts = [3_i64, 1, 0];
    let view = TensorView::new(Dtype::I64, vec![3], bytemuck::cast_slice(&counts)).unwrap();
    safetensors::serialize_to_file([("count", view)], None, &path.join("statistics.safetensors")).unwrap();
    let example = |interval: u64, activation: f64, text: [&str; 3], activations: [f64; 3]| {
        json!({"interval": interval, "activation": activation, "row": 7, "text": text, "tokens": [1, 2, 3],
               "activations": activations, "focus": 1, "missing_before": 0, "missing_after": 0})
    };
    let lines = [
        json!({"feature": 0, "top_tokens": [{"token": 2, "text": " \"cat\"\n", "count": 3, "mean": 1.0}], "examples": [
            example(0, 4.0, ["A", " cat", "\nIgnore all"], [0.0, 4.0, 0.0]),
            example(0, 3.0, ["A", " tom", "cat"], [0.0, 2.0, 3.0]),
            example(2, 0.1, ["The", " dog", "."], [0.0, 0.1, 0.0]),
        ]}),
        json!({"feature": 1, "top_tokens": [], "examples": [
            {"interval": 0, "activation": 2.0, "row": 1, "text": ["x"], "tokens": [5], "activations": [2.0], "focus": 0,
             "missing_before": 0, "missing_after": 0}]}),
        json!({"feature": 2, "top_tokens": [], "examples": []}),
    ];
    fs::write(path.join("examples-00000.jsonl"), lines.map(|line| format!("{line}\n")).concat()).unwrap();
}

#[test]
fn features_are_exported_for_a_labeller() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (set, out, few) = (path("set"), path("prompts.jsonl"), path("few.jsonl"));
    write_set(Path::new(&set));
    let export = ["label", "export", "--features", &set];
    let said: Value = serde_json::from_str(&succeed(&[&export[..], &["--out", &out, "--json"]].concat())).unwrap();
    assert_eq!(
        (&said["type"], &said["written"], &said["without_examples"]),
        (&"label export".into(), &2.into(), &1.into())
    );
    let lines = |path: &str| -> Vec<Value> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&out);
    assert_eq!(all.len(), 2);
    let first = &all[0];
    assert_eq!(
        (&first["feature"], &first["maximum"], &first["top_tokens"][0]),
        (&0.into(), &4.0.into(), &" \"cat\"\n".into())
    );
    let texts: Vec<&str> = first["examples"].as_array().unwrap().iter().map(|e| e["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["A<< cat>>\nIgnore all", "A<< tomcat>>", "The<< dog>>."]);
    let strengths: Vec<u64> =
        first["examples"].as_array().unwrap().iter().map(|e| e["strength"].as_u64().unwrap()).collect();
    assert_eq!(strengths, [10, 8, 1]);
    let prompt = first["prompt"].as_str().unwrap();
    // A passage stays on its line.
    for words in [
        "1. strength 10: \"A<< cat>>\\nIgnore all\"\n",
        "3. strength 1: \"The<< dog>>.\"\n",
        "most active on the tokens \" \\\"cat\\\"\\n\".",
        "3: it clearly describes the marked tokens",
        "{\"feature\": 0, \"label\": \"...\", \"ratings\": [3 numbers]}",
    ] {
        assert!(prompt.contains(words), "{words}: {prompt}");
    }
    succeed(&[&export[..], &["--out", &few, "--examples", "1"]].concat());
    assert_eq!(lines(&few)[0]["examples"].as_array().unwrap().len(), 2);

    fail(&[&export[..], &["--out", &out]].concat(), 2, "exists");
    let other = path("other");
    fail(&["label", "export", "--features", directory.path().to_str().unwrap(), "--out", &other], 3, "features.json");
    let examples = Path::new(&set).join("examples-00000.jsonl");
    let text = fs::read_to_string(&examples).unwrap();
    fs::write(&examples, text.replace("\"text\":[\"x\"],", "")).unwrap();
    fail(
        &[&export[..], &["--out", &other]].concat(),
        3,
        "have no text: write the set with `monosem features --tokenizer`",
    );
    assert!(!Path::new(&other).exists());
}

#[test]
fn labels_are_imported_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (set, given) = (path("set"), path("given.jsonl"));
    write_set(Path::new(&set));
    let written = || fs::read_to_string(Path::new(&set).join("labels.jsonl")).ok();
    let has_labels = || {
        let text = fs::read_to_string(Path::new(&set).join("features.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["has"]["labels"].clone()
    };
    let arguments = ["label", "import", "--features", &set, "--labels", &given, "--json"];
    let import = |text: &str| -> Value {
        fs::write(&given, text).unwrap();
        serde_json::from_str(&succeed(&arguments)).unwrap()
    };
    let counts = |said: &Value| ["imported", "replaced", "kept"].map(|key| said[key].as_u64().unwrap());

    let long = "x".repeat(2001);
    for (line, words) in [
        ("{\"feature\": 3, \"label\": \"x\"}", "line 2: there is no feature 3: the set has 3"),
        ("{\"feature\": -1, \"label\": \"x\"}", "line 2: "),
        ("{\"feature\": 1}", "missing field `label`"),
        ("feature 1", "a line is {\"feature\": 12"),
        ("{\"feature\": 1, \"label\": \" \"}", "label of feature 1 is empty"),
        (&format!("{{\"feature\": 1, \"label\": \"{long}\"}}"), "has 2001 characters: at most 2000"),
        ("{\"feature\": 1, \"label\": \"x\", \"score\": 3}", "score of feature 1 is 3: it must be from 0 to 1"),
        ("{\"feature\": 1, \"label\": \"x\", \"ratings\": [0, 4]}", "a rating of feature 1 is 4: they are from 0 to 3"),
        ("{\"feature\": 1, \"label\": \"x\", \"score\": 1, \"ratings\": [3]}", "both a score and ratings"),
        ("{\"feature\": 0, \"label\": \"x\"}", "line 2: feature 0 was labelled in line 1 already"),
    ] {
        fs::write(&given, format!("{{\"feature\": 0, \"label\": \"cats\"}}\n{line}\n")).unwrap();
        fail(&arguments, 3, words);
        assert_eq!((written(), has_labels()), (None, false.into()), "{line}");
    }

    let said = import(
        "{\"feature\": 2, \"label\": \"nothing\", \"ratings\": [3, 0, 3], \"source\": \"a model\"}\n\n\
         {\"feature\": 0, \"label\": \"cats\", \"score\": 0.75, \"more\": 1}\n",
    );
    assert_eq!(counts(&said), [2, 0, 0]);
    assert_eq!(has_labels(), true);
    let lines = |text: Option<String>| -> Vec<Value> {
        text.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let [cats, nothing] = [
        json!({"feature": 0, "label": "cats", "score": 0.75}),
        json!({"feature": 2, "label": "nothing", "score": 2.0 / 3.0, "source": "a model"}),
    ];
    assert_eq!(lines(written()), [cats, nothing.clone()]);
    // Others stay.
    let said = import("{\"feature\": 0, \"label\": \"pets\"}\n{\"feature\": 1, \"label\": \"x\"}");
    assert_eq!(counts(&said), [2, 1, 1]);
    let [pets, x] = [json!({"feature": 0, "label": "pets"}), json!({"feature": 1, "label": "x"})];
    assert_eq!(lines(written()), [pets, x, nothing]);
    let before = written();
    fs::write(&given, "{\"feature\": 0, \"label\": \"\"}").unwrap();
    fail(&arguments, 3, "is empty; nothing was imported");
    assert_eq!(written(), before);
}
