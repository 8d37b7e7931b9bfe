//! The text of tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::fixture::{ALL, N, Rows, relu, save, whole_sae};
use super::{features, model, path};
use crate::program::cli::{fail, succeed};
use crate::program::report::handed_over;

/// Would be a program in a page.
const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\n\u{0}\"";

/// A token of a MiB.
const LONG: usize = 60;

fn token_text(token: i64) -> String {
    match token {
        7 => HOSTILE.to_owned(),
        60 => "x".repeat(1 << 20),
        token => format!(" t{token}"),
    }
}

/// A tokenizer of this many tokens.
fn tokenizer(directory: &tempfile::TempDir, count: usize) -> String {
    let name = |id: usize| if [7, LONG].contains(&id) { token_text(id as i64) } else { format!("Ġt{id}") };
    let vocabulary: serde_json::Map<String, Value> = (0..count).map(|id| (name(id), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "Ġt0" },
    });
    let path = path(directory, &format!("tokenizer-{count}.json"));
    fs::write(&path, tokenizer.to_string()).unwrap();
    path
}

#[test]
fn tokens_have_their_text_whatever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Rows::made(200);
    let data = rows.write(directory.path().join("data"), &ALL);
    let saved = save(&whole_sae(relu()), &directory.path().join("sae"));
    let out = path(&directory, "features");
    let (_, set) = features(&saved, &[&data], &out, &["--tokenizer", &tokenizer(&directory, 50)]);
    let mut hostile = 0;
    for line in &set.lines {
        for example in line["examples"].as_array().unwrap() {
            let tokens: Vec<i64> = serde_json::from_value(example["tokens"].clone()).unwrap();
            let texts: Vec<String> = serde_json::from_value(example["text"].clone()).unwrap();
            assert_eq!(texts, tokens.iter().map(|token| token_text(*token)).collect::<Vec<_>>());
            hostile += usize::from(tokens.contains(&7));
        }
        for token in line["top_tokens"].as_array().unwrap() {
            assert_eq!(token["text"], token_text(token["token"].as_i64().unwrap()));
        }
    }
    assert!(hostile > 0);
    let missing = json!(["logit weights: no unembedding was given (--unembed)"]);
    assert_eq!((&set.description["has"]["text"], &set.description["missing"]), (&true.into(), &missing));

    let short = tokenizer(&directory, 30);
    let row = rows.tokens.iter().position(|token| *token >= 30).unwrap();
    let words = format!("tensor `token_ids`, row {row} is {}, which the tokenizer", rows.tokens[row]);
    let again = path(&directory, "again");
    fail(&["features", "--sae", &saved, "--data", &data, "--out", &again, "--tokenizer", &short], 3, &words);
    assert!(!Path::new(&again).exists());
}

#[test]
fn tokens_that_no_example_shows_have_their_text_in_logit_weights() {
    let directory = tempfile::tempdir().unwrap();
    // The data have tokens 0 to 49, the tokenizer 70, the model's padded vocabulary 90.
    let data = Rows::made(200).write(directory.path().join("data"), &ALL);
    let saved = save(&whole_sae(relu()), &directory.path().join("sae"));
    let (set, model, tokenizer) = (path(&directory, "set"), model(&directory, 90), tokenizer(&directory, 70));
    let more = ["--unembed", &model, "--logit-tokens", "12", "--tokenizer", &tokenizer];
    features(&saved, &[&data], &set, &more);

    let bytes = fs::read(Path::new(&set).join("logits.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let [top, bottom] = ["top_tokens", "bottom_tokens"]
        .map(|name| bytemuck::pod_collect_to_vec::<u8, i32>(tensors.tensor(name).unwrap().data()));
    let named: BTreeSet<i64> = top.iter().chain(&bottom).map(|token| i64::from(*token)).collect();
    assert!(named.contains(&7) && named.contains(&(LONG as i64)) && named.iter().any(|token| *token >= 70));
    let lines = fs::read_to_string(Path::new(&set).join("tokens.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let known = named.iter().filter(|token| **token < 70);
    let expected: Vec<Value> = known.map(|token| json!({ "token": token, "text": token_text(*token) })).collect();
    assert_eq!(lines, expected);

    succeed(&["report", "--features", &set]);
    let chunk = handed_over(&path(&directory, "set/report/data/features/000/000000.js"));
    let prompts = path(&directory, "prompts.jsonl");
    succeed(&["label", "export", "--features", &set, "--out", &prompts]);
    let prompts = fs::read_to_string(&prompts).unwrap();
    let prompts: BTreeMap<u64, Value> = prompts
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .map(|line: Value| (line["feature"].as_u64().unwrap(), line))
        .collect();
    let cut = "x".repeat(240);
    for feature in 0..N {
        for (key, tokens) in [("top_logits", &top), ("bottom_logits", &bottom)] {
            let tokens: Vec<i64> = tokens[feature * 12..][..12].iter().map(|token| (*token).into()).collect();
            let shown = tokens.iter().map(|token| match *token {
                token if token >= 70 => json!(format!("#{token}")),
                token if token == LONG as i64 => json!({ "start": cut, "characters": 1 << 20 }),
                token => json!(token_text(token)),
            });
            let in_report: Vec<Value> =
                chunk[feature][key].as_array().unwrap().iter().map(|pair| pair[0].clone()).collect();
            assert_eq!(in_report, shown.collect::<Vec<_>>(), "feature {feature}");
            let Some(line) = prompts.get(&(feature as u64)) else { continue };
            let exported = tokens.iter().filter(|token| **token < 70);
            let exported: Vec<String> = exported.map(|token| token_text(*token).chars().take(240).collect()).collect();
            assert_eq!(line[key], json!(exported), "feature {feature}");
            let prompt = line["prompt"].as_str().unwrap();
            assert!(exported.iter().all(|text| prompt.contains(&json!(text).to_string())), "{prompt}");
        }
    }

    // A damaged line is refused by its place.
    fs::write(Path::new(&set).join("tokens.jsonl"), "{\"token\": 1, \"text\": \"a\"}\n{\"token\": 2}\n").unwrap();
    let out = path(&directory, "again");
    fail(&["report", "--features", &set, "--out", &out], 3, "missing field `text` at line 2");
    assert!(!Path::new(&out).exists());
}

#[test]
fn the_samples_text_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let run = path(&directory, "run");
    let data = "examples/data/sample-val.safetensors";
    let sizes = ["--features", "64", "--k", "4", "--batch", "200", "--steps", "3"];
    succeed(&[&["train", "--data", data, "--out", &run][..], &sizes].concat());
    let out = path(&directory, "features");
    let (_, set) = features(&run, &[data], &out, &["--tokenizer", "examples/data/tokenizer.json"]);
    let special = set.description["special_tokens"].as_array().unwrap();
    assert!(special.contains(&json!({ "token": 101, "text": "[CLS]" })));
    let passages: Vec<String> = set
        .lines
        .iter()
        .flat_map(|line| line["examples"].as_array().unwrap().clone())
        .map(|example| serde_json::from_value::<Vec<String>>(example["text"].clone()).unwrap().concat())
        .collect();
    // A word in several pieces is one word, and most tokens begin with a space.
    assert!(passages.iter().all(|text| !text.contains("##")));
    assert!(passages.iter().filter(|text| text.contains(" the ")).count() > 10, "{:?}", &passages[..5]);
}
