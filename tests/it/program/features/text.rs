//! The text of tokens.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::fixture::{ALL, Rows, relu, save, whole_sae};
use super::{features, path};
use crate::program::cli::{fail, succeed};

/// A tokenizer of tokens 0 to 49, of which one would be a program in a page.
fn tokenizer(directory: &tempfile::TempDir, count: usize) -> String {
    let hostile = "<script>alert(1)</script>\u{202e}\n\u{0}\"";
    let name = |id: usize| if id == 7 { hostile.to_owned() } else { format!("Ġt{id}") };
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
    let text = |token: i64| match token {
        7 => "<script>alert(1)</script>\u{202e}\n\u{0}\"".to_owned(),
        token => format!(" t{token}"),
    };
    let mut hostile = 0;
    for line in &set.lines {
        for example in line["examples"].as_array().unwrap() {
            let tokens: Vec<i64> = serde_json::from_value(example["tokens"].clone()).unwrap();
            let texts: Vec<String> = serde_json::from_value(example["text"].clone()).unwrap();
            assert_eq!(texts, tokens.iter().map(|token| text(*token)).collect::<Vec<_>>());
            hostile += usize::from(tokens.contains(&7));
        }
        for token in line["top_tokens"].as_array().unwrap() {
            assert_eq!(token["text"], text(token["token"].as_i64().unwrap()));
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
