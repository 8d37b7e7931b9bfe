//! AuxK from the command line to the metrics.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::cli::{self, Files, fail, succeed};

/// 200 features, of which k of 50 rows keep few, and a window of two steps: most are soon dead.
const SIZES: [&str; 12] =
    ["--features", "200", "--k", "4", "--batch", "50", "--steps", "12", "--dead-window", "100", "--log-every", "1"];

fn metrics(out: &str) -> Vec<Value> {
    cli::metrics(Path::new(out))
}

fn weights(out: &str) -> Vec<u8> {
    fs::read(Path::new(out).join("sae/sae_weights.safetensors")).unwrap()
}

#[test]
fn the_auxiliary_loss_is_logged_and_revives_features() {
    let files = Files::new();
    let train = |name: &str, flags: &[&str]| {
        let out = files.path(name);
        let stdout = succeed(&[&["train", "--json", "--data", &files.data, "--out", &out], &SIZES[..], flags].concat());
        let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        (out, last)
    };
    let (plain, last) = train("plain", &[]);
    assert!(last["auxk"].is_null() && last["dead"].as_u64().unwrap() >= 10, "{last}");
    for form in ["normalised", "saelens"] {
        let (out, last) = train(form, &["--auxk", form]);
        let steps = metrics(&out);
        // Nothing is dead before the window is over.
        assert_eq!(steps[0]["auxk"], 0.0, "{}", steps[0]);
        assert!(steps[3..].iter().all(|step| step["auxk"].as_f64().unwrap() > 0.0), "{steps:?}");
        assert_eq!(last["auxk"], steps[11]["auxk"]);
        assert_ne!(weights(&out), weights(&plain));
        let text = fs::read_to_string(Path::new(&out).join("config.toml")).unwrap();
        let config: toml::Table = text.parse().unwrap();
        let coefficient = if form == "saelens" { "1.0" } else { "0.03125" };
        assert!(text.contains(&format!("# derived: auxk-coefficient = {coefficient}\n")), "{text}");
        assert_eq!(config["auxk"].as_str(), Some(form));
        assert_eq!(config["dead-window"].as_integer(), Some(100));
        // The run from its own configuration is the same run.
        let again = files.path(&format!("{form} again"));
        succeed(&["train", "--config", &format!("{out}/config.toml"), "--out", &again]);
        assert!(weights(&again) == weights(&out) && metrics(&again) == steps);
        // The run has seen its whole window, which eval takes from it.
        let eval = succeed(&["eval", "--sae", &out, "--data", &files.data, "--json"]);
        let eval: Value = serde_json::from_str(&eval).unwrap();
        assert_eq!(eval["dead_fraction"].as_f64().unwrap() * 200.0, steps[11]["dead"].as_f64().unwrap());
    }
}

#[test]
fn a_run_with_an_auxiliary_loss_resumes_to_the_same_bits() {
    let files = Files::new();
    for form in ["normalised", "saelens"] {
        let flags = ["--auxk", form, "--auxk-k", "3", "--moments", "bf16", "--checkpoint-every", "7"];
        let out = files.path(form);
        succeed(&[&["train", "--data", &files.data, "--out", &out], &SIZES[..], &flags].concat());
        let (expected, logged) = (weights(&out), metrics(&out));
        // As if the power had failed before the end was recorded.
        let record = Path::new(&out).join("run.json");
        let running = fs::read_to_string(&record).unwrap().replace("\"done\"", "\"running\"");
        fs::write(record, running).unwrap();
        fail(&["train", "--out", &out, "--resume", "--auxk-k", "2"], 2, "--auxk-k is 2");
        fail(&["train", "--out", &out, "--resume", "--auxk-coefficient", "2"], 2, "--auxk-coefficient is");
        fail(&["train", "--out", &out, "--resume", "--dead-window", "150"], 2, "--dead-window is 150");
        succeed(&["train", "--out", &out, "--resume"]);
        assert!(weights(&out) == expected && metrics(&out) == logged, "{form}");
    }
}

#[test]
fn unusable_settings_are_refused_and_a_plan_counts_the_loss() {
    let files = Files::new();
    let out = files.path("run");
    let train = [&["train", "--data", &files.data, "--out", &out], &SIZES[..8]].concat();
    for (flags, words) in [
        (
            &["--auxk", "normalised", "--auxk-coefficient", "0"][..],
            "--auxk-coefficient <X|default>': must be finite and above 0",
        ),
        (&["--auxk", "saelens", "--auxk-coefficient", "NaN"], "must be finite and above 0"),
        (&["--auxk", "saelens", "--auxk-coefficient", "-1"], "must be finite and above 0"),
        (&["--auxk", "normalised", "--auxk-coefficient", "1e300"], "too large for f32"),
        (&["--auxk", "normalised", "--auxk-k", "0"], "--auxk-k <K|default>': must be at least 1"),
        (&["--auxk", "saelens", "--auxk-k", "201"], "AuxK cannot take 201 dead features per row: there are 200"),
        (&["--auxk-k", "3"], "give --auxk normalised or --auxk saelens as well"),
        (&["--auxk", "none", "--auxk-coefficient", "1"], "give --auxk normalised"),
        (&["--auxk", "ghost"], "'ghost'"),
        (&["--dead-window", "0"], "--dead-window <TOKENS>': must be at least 1"),
    ] {
        fail(&[&train[..], flags].concat(), 2, words);
    }
    assert!(!Path::new(&out).exists());

    let plan = |flags: &[&str]| -> Value {
        let sizes = ["plan", "--json", "--d", "64", "--features", "4096", "--batch", "64", "--assume-memory", "1GiB"];
        serde_json::from_str(&succeed(&[&sizes[..], flags].concat())).unwrap()
    };
    let (without, with) = (plan(&[]), plan(&["--auxk", "normalised"]));
    assert!(without["device_bytes_by_part"]["auxiliary loss"].is_null());
    assert!(with["device_bytes_by_part"]["auxiliary loss"].as_u64().unwrap() > 0, "{with}");
    assert!(with["device_bytes"].as_u64() > without["device_bytes"].as_u64());
    assert_eq!(with["checkpoint_bytes"], without["checkpoint_bytes"]);
}
