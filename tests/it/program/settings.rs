//! Settings of `monosem train`: flags over a file, what is derived from them, and what a resume refuses.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::cli::{Files, fail, monosem, succeed};

const SIZES: [&str; 8] = ["--k", "4", "--batch", "50", "--seed", "3", "--device", "cpu"];

fn config(run: &str) -> String {
    fs::read_to_string(Path::new(run).join("config.toml")).unwrap()
}

fn chosen(run: &str) -> toml::Table {
    config(run).parse().unwrap()
}

/// The value of a comment `# derived: key = value`.
fn derived(run: &str, key: &str) -> Option<toml::Value> {
    let config = config(run);
    let line = config.lines().find_map(|line| line.strip_prefix(&format!("# derived: {key} = ")))?;
    format!("x = {line}").parse::<toml::Table>().unwrap().remove("x")
}

fn weights(run: &str) -> Vec<u8> {
    fs::read(Path::new(run).join("sae/sae_weights.safetensors")).unwrap()
}

/// A run of 20 features, from this file if there is one.
fn train(files: &Files, name: &str, file: Option<&str>, flags: &[&str]) -> String {
    let run = files.path(name);
    let from = file.map_or(vec!["--data", &files.data], |file| vec!["--config", file]);
    succeed(&[&["train", "--out", &run], &from[..], flags].concat());
    run
}

#[test]
fn flags_win_over_a_file_in_pairs_too_and_what_is_derived_is_derived_again() {
    let files = Files::new();
    let sizes = [&SIZES[..], &["--expansion", "2", "--tokens", "300"]].concat();
    let first = train(&files, "first", None, &sizes);
    let file = format!("{first}/config.toml");
    assert_eq!(derived(&first, "features"), Some(20.into()));
    assert_eq!(derived(&first, "steps"), Some(6.into()));
    assert!(!chosen(&first).contains_key("lr") && derived(&first, "lr").is_some());

    let again = train(&files, "again", Some(&file), &[]);
    assert!(weights(&again) == weights(&first) && config(&again) == config(&first));

    // As if the other settings had been given anew.
    for (name, flags) in
        [("more", ["--features", "40", "--steps", "9"]), ("other", ["--expansion", "3", "--tokens", "1k"])]
    {
        let over = train(&files, name, Some(&file), &flags);
        let anew = train(&files, &format!("{name} anew"), None, &[&SIZES[..], &flags].concat());
        assert!(config(&over) == config(&anew) && weights(&over) == weights(&anew), "{}", config(&over));
        assert_ne!(derived(&over, "lr"), derived(&first, "lr"));
    }
}

#[test]
fn flags_take_back_what_a_file_says() {
    let files = Files::new();
    let file = files.path("file.toml");
    let text = format!(
        "data = {:?}\nd-sae = '20'\nsteps = 1e1\nk = 4\nbatch = 50\nexclude-tokens = [7, 3, 7]\nmax-norm = 50\n\
         lr = 1e-4\nwarmup = 1\ndecay = 1\nauxk = 'saelens'\nauxk-coefficient = 0.5\nauxk-k = 2\n\
         model-name = 'mine'\ncontext-size = '1k'\ndevice = 'cpu'\n",
        files.data
    );
    fs::write(&file, text).unwrap();
    let back = [
        &["--exclude-tokens", "none", "--max-norm", "none", "--lr", "default", "--warmup", "default", "--auxk", "none"]
            [..],
        &["--decay", "default", "--model-name", "default", "--context-size", "default"],
    ]
    .concat();
    let run = train(&files, "run", Some(&file), &back);
    let chosen = chosen(&run);
    for key in ["max-norm", "lr", "warmup", "decay", "auxk-coefficient", "auxk-k", "model-name", "context-size"] {
        assert!(!chosen.contains_key(key), "{key}: {chosen}");
    }
    assert_eq!((&chosen["auxk"], &chosen["features"], &chosen["steps"]), (&"none".into(), &20.into(), &10.into()));
    assert!(chosen["exclude-tokens"].as_array().is_none_or(Vec::is_empty), "{chosen}");
    assert_eq!(derived(&run, "decay"), Some(2.into()));
    let cfg: Value = serde_json::from_slice(&fs::read(Path::new(&run).join("sae/cfg.json")).unwrap()).unwrap();
    assert_eq!(cfg["metadata"]["model_name"], "a model", "from the data");
    // The data have no token ids: without the word they are needed.
    let out = files.path("out");
    fail(&["train", "--config", &file, "--out", &out], 3, "token_ids");
    let train = ["train", "--config", &file, "--out", &out];
    succeed(&[&train[..], &["--exclude-tokens", "", "--max-norm", "inf", "--auxk-k", "default"]].concat());
    let chosen = self::chosen(&out);
    assert_eq!(chosen["auxk-coefficient"].as_float(), Some(0.5));
    assert!(!chosen.contains_key("auxk-k") && !chosen.contains_key("max-norm"), "{chosen}");
    assert_eq!(derived(&out, "auxk-k"), Some(5.into()));
}

#[test]
fn a_resume_compares_what_settings_mean_and_names_the_flag_that_changed() {
    let files = Files::new();
    let flags = ["--expansion", "2", "--tokens", "500", "--checkpoint-every", "4", "--max-norm", "100"];
    let out = files.path("run");
    let command = [&["train", "--data", &files.data, "--out", &out], &SIZES[..], &flags].concat();
    succeed(&command);
    let expected = weights(&out);
    let unfinish = || {
        let record = Path::new(&out).join("run.json");
        let text = fs::read_to_string(&record).unwrap().replace("\"done\"", "\"running\"");
        fs::write(record, text).unwrap();
    };
    let resume = ["train", "--out", &out, "--resume"];
    unfinish();
    for (changed, words) in [
        (&["--steps", "100"][..], "--steps is 100 and was 10 when"),
        (&["--tokens", "1k"], "--tokens: steps is 20 and was 10 when"),
        (&["--features", "40"], "--features is 40 and was 20 when"),
        (&["--expansion", "4"], "--expansion: features is 40 and was 20 when"),
        (&["--lr", "0.5"], "--lr is 0.5 and was 0.0"),
        (&["--batch", "25"], "--batch is 25 and was 50 when"),
        (&["--max-norm", "none"], "--max-norm is not given and was 100.0 when"),
        (&["--auxk", "saelens"], "--auxk is \"saelens\" and was \"none\" when"),
    ] {
        fail(&[&resume[..], changed].concat(), 2, words);
    }
    // The same in other words, and the same command again.
    for same in [&["--steps", "10"][..], &["--features", "2_0"], &["--decay", "2"], &["--exclude-tokens", "none"]] {
        unfinish();
        succeed(&[&resume[..], same].concat());
        assert!(weights(&out) == expected, "{same:?}");
    }
    unfinish();
    succeed(&[&command[..], &["--resume"]].concat());

    // A file in which what was derived is written as if it had been chosen, as there were before.
    let old = config(&out).replace("# derived: ", "").replace("expansion = 2\n", "").replace("tokens = 500\n", "");
    let old = format!("{}{}", old, if old.contains("\nlr") { "" } else { "lr = 0.02\n" });
    fs::write(Path::new(&out).join("config.toml"), &old).unwrap();
    unfinish();
    fail(&[&resume[..], &["--steps", "100"]].concat(), 2, "--steps is 100 and was 10 when");
    succeed(&[&command[..], &["--resume"]].concat());
    assert!(weights(&out) == expected);
}

#[test]
fn a_resume_without_settings_says_where_they_are_missing() {
    let files = Files::new();
    let typo = files.path("typo");
    fail(&["train", "--out", &typo, "--resume"], 2, "there is no run to resume in ");
    assert!(!Path::new(&typo).exists());
    let run = train(&files, "run", None, &[&SIZES[..], &["--features", "20", "--steps", "3"]].concat());
    let path = Path::new(&run).join("config.toml");
    fs::write(&path, "").unwrap();
    fail(&["train", "--out", &run, "--resume"], 2, "run/config.toml is empty or damaged");
    let flags = [&SIZES[..], &["--features", "20", "--steps", "3", "--data", &files.data]].concat();
    fail(&[&["train", "--out", &run, "--resume"], &flags[..]].concat(), 2, "run/config.toml is empty or damaged");
    fs::write(&path, "k = 4\nbatch").unwrap();
    fail(&["train", "--out", &run, "--resume"], 2, "config.toml, line 2: ");
    fs::remove_file(&path).unwrap();
    fail(&["train", "--out", &run, "--resume"], 2, "run has no config.toml");
    succeed(&[&["train", "--out", &run, "--resume"], &flags[..]].concat());
}

#[test]
fn a_finished_run_prints_its_summary_again() {
    let files = Files::new();
    let run = files.path("run");
    let sizes = ["--features", "20", "--steps", "3", "--json"];
    let first = succeed(&[&["train", "--data", &files.data, "--out", &run], &SIZES[..], &sizes].concat());
    let last = |text: &str| -> Value { serde_json::from_str(text.lines().last().unwrap()).unwrap() };
    let again = succeed(&["train", "--out", &run, "--resume", "--json"]);
    let (first, again) = (last(&first), last(&again));
    for key in ["type", "state", "sae", "step", "fvu", "loss", "device", "data", "version", "commit"] {
        assert!(again.get(key).is_some() && first[key] == again[key], "{key}: {first} {again}");
    }
    assert_eq!(again["type"], "train");
}

#[test]
fn the_last_line_of_json_is_of_the_command() {
    let files = Files::new();
    let run = train(&files, "run", None, &[&SIZES[..], &["--features", "20", "--steps", "3"]].concat());
    let sizes = ["--features", "64", "--k", "4", "--batch", "50", "--device", "cpu", "--d", "10"];
    for arguments in
        [&["devices"][..], &["verify", &run], &[&["plan"], &sizes[..]].concat(), &[&["bench"], &sizes[..]].concat()]
    {
        let text = succeed(&[arguments, &["--json"]].concat());
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().all(|line| line["type"].is_string()), "{text}");
        let last = lines.last().unwrap();
        assert_eq!((&last["type"], &last["version"]), (&arguments[0].into(), &env!("CARGO_PKG_VERSION").into()));
    }
    let error = monosem(&["verify", "/nowhere", "--json"]).stdout;
    let error: Value = serde_json::from_slice(&error).unwrap();
    assert_eq!(error["type"], "error");
}

#[test]
fn the_file_of_an_sae_is_none() {
    let files = Files::new();
    let run = train(&files, "run", None, &[&SIZES[..], &["--features", "20", "--steps", "3"]].concat());
    let cfg = format!("{run}/sae/cfg.json");
    fail(&["eval", "--sae", &cfg, "--data", &files.data], 3, "cfg.json: is a file: give --sae the directory");
}
