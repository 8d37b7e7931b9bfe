//! Training options of `monosem train`: schedules, Adam, presets, and where a run starts.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::cli::{Files, fail, metrics, monosem, succeed};

const SIZES: [&str; 10] = ["--features", "40", "--k", "4", "--batch", "50", "--seed", "3", "--device", "cpu"];

fn train(files: &Files, name: &str, flags: &[&str]) -> String {
    let out = files.path(name);
    succeed(&[&["train", "--data", &files.data, "--out", &out, "--no-autotune", "--log-every", "1"], flags].concat());
    out
}

fn config(run: &str) -> String {
    fs::read_to_string(Path::new(run).join("config.toml")).unwrap()
}

fn record(run: &str) -> Value {
    serde_json::from_slice(&fs::read(Path::new(run).join("run.json")).unwrap()).unwrap()
}

fn rates(run: &str) -> Vec<f64> {
    metrics(Path::new(run)).iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect()
}

fn weights(run: &str) -> Vec<u8> {
    fs::read(Path::new(run).join("sae/sae_weights.safetensors")).unwrap()
}

#[test]
fn the_learning_rate_follows_the_schedule() {
    let files = Files::new();
    let rates = |name: &str, flags: &[&str]| -> Vec<f64> {
        let run = train(&files, name, &[&SIZES[..], &["--steps", "10", "--lr", "0.01"], flags].concat());
        rates(&run).iter().map(|rate| (rate * 1e6).round() / 1e4).collect()
    };
    let constant = rates("constant", &["--schedule", "constant", "--warmup", "20%"]);
    assert_eq!(constant, [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let linear = rates("linear", &["--warmup-steps", "0", "--decay", "50%"]);
    assert_eq!(linear, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]);
    let rest = rates("rest", &["--warmup", "2", "--decay", "rest"]);
    assert_eq!(rest, [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]);
    let cosine = rates("cosine", &["--warmup", "0", "--schedule", "cosine"]);
    assert_eq!((cosine[0], cosine[5]), (1.0, 0.5));
    assert!(cosine.windows(2).all(|pair| pair[0] > pair[1]), "{cosine:?}");
    // What is written repeats it, and a resume compares the steps that a share comes to.
    let file = files.path("rest/config.toml");
    assert!(config(&files.path("rest")).contains("decay = \"rest\"\n"));
    let again = files.path("again");
    succeed(&["train", "--config", &file, "--out", &again, "--no-autotune"]);
    assert!(weights(&again) == weights(&files.path("rest")));
    fs::write(Path::new(&again).join("run.json"), "{\"state\": \"failed\"}").unwrap();
    fail(&["train", "--out", &again, "--resume", "--decay", "7"], 2, "--decay is 7 and was 8 when");
    succeed(&["train", "--out", &again, "--resume", "--decay", "80%"]);

    let out = files.path("refused");
    let refuse = |flags: &[&str], words: &str| {
        let command = ["train", "--data", &files.data, "--out", &out, "--steps", "10"];
        fail(&[&command[..], &SIZES, flags].concat(), 2, words);
        assert!(!Path::new(&out).exists());
    };
    refuse(&["--schedule", "constant", "--decay", "2"], "a constant schedule does not fall, and has 2 steps of decay");
    refuse(&["--schedule", "step"], "not one of constant, linear, cosine");
    refuse(&["--decay", "120%"], "not a percentage from 0% to 100%");
    refuse(&["--warmup", "60%", "--decay", "50%"], "6 steps of warm-up and 5 of decay are more than 10 steps");
    refuse(&["--adam-beta1", "1"], "must be at least 0 and below 1");
    refuse(&["--adam-eps", "0"], "must be finite and above 0");
    refuse(&["--lr", "1/sqrt(features/x)"], "not a number");
    refuse(&["--decoder-rule", "fixed"], "not one of unit-norm, free");
    refuse(&["--init-decoder-norm", "0.1"], "give --decoder-rule free");
    refuse(&["--preset", "openai"], "there are openai-topk, dictionary-learning-topk, ");
}

#[test]
fn every_option_changes_the_result_and_is_recorded() {
    let files = Files::new();
    let steps = ["--steps", "4"];
    let usual = weights(&train(&files, "usual", &[&SIZES[..], &steps].concat()));
    // The defaults, spelled out.
    let spelled = [
        &["--schedule", "linear", "--adam-beta1", "0.9", "--adam-beta2", "0.999", "--adam-eps", "1e-8", "--clip", "1"]
            [..],
        &["--decoder-rule", "unit-norm", "--init-encoder", "decoder", "--init-b-dec", "median", "--init", "none"],
    ];
    let spelled = train(&files, "spelled", &[&SIZES[..], &steps, &spelled.concat()].concat());
    assert!(weights(&spelled) == usual);
    for (flag, value) in [
        ("adam-beta1", "0.5"),
        ("adam-beta2", "0.9"),
        ("adam-eps", "0.1"),
        ("clip", "none"),
        ("decoder-rule", "free"),
        ("init-encoder", "linear"),
        ("init-encoder", "matched"),
        ("init-b-dec", "mean"),
        ("init-b-dec", "zero"),
    ] {
        let name = format!("{flag}-{value}");
        let run = train(&files, &name, &[&SIZES[..], &steps, &[&format!("--{flag}"), value]].concat());
        assert!(weights(&run) != usual, "{name}");
        let written: toml::Table = config(&run).parse().unwrap();
        let text = written[flag].as_str().map_or_else(|| written[flag].to_string(), str::to_owned);
        assert_eq!(text, if value == "none" { "0.0" } else { value }, "{name}");
    }
    let free = record(&files.path("init-b-dec-zero"))["start"].clone();
    assert_eq!(free["drawn"]["b_dec"], "zero");
}

#[test]
fn a_preset_lies_under_the_flags_and_the_file() {
    let files = Files::new();
    let preset = ["--preset", "saelens-topk", "--steps", "3", "--batch", "50", "--device", "cpu"];
    let run = train(&files, "run", &[&preset[..], &["--features", "120", "--lr", "1e-3"]].concat());
    let written: toml::Table = config(&run).parse().unwrap();
    assert_eq!((&written["k"], &written["auxk"]), (&100.into(), &"saelens".into()));
    assert_eq!((&written["decoder-rule"], written["lr"].as_float()), (&"free".into(), Some(1e-3)));
    assert_eq!(rates(&run), [1e-3; 3]);
    assert!(config(&run).contains("\n# preset: saelens-topk, sae-lens 6.54.12"), "{}", config(&run));
    let again = files.path("again");
    succeed(&["train", "--config", &format!("{run}/config.toml"), "--out", &again, "--no-autotune"]);
    assert!(weights(&again) == weights(&run));

    // The file wins over the preset, and a flag over both; of the sizes the uppermost counts.
    let file = files.path("file.toml");
    fs::write(&file, "k = 7\nfeatures = 30\nclip = 0.5\n").unwrap();
    let sparsify = ["--preset", "sparsify-adam", "--config", &file, "--steps", "3", "--warmup", "1", "--batch", "50"];
    let over = train(&files, "over", &[&sparsify[..], &["--clip", "0.25", "--device", "cpu"]].concat());
    let written: toml::Table = config(&over).parse().unwrap();
    assert_eq!((&written["k"], &written["features"]), (&7.into(), &30.into()));
    assert!(!written.contains_key("expansion") && written["clip"].as_float() == Some(0.25), "{written}");

    // A resume with the same command is the same run; one with another preset is refused.
    fs::write(Path::new(&run).join("run.json"), "{\"state\": \"failed\"}").unwrap();
    let resume = ["train", "--out", &run, "--resume", "--no-autotune", "--batch", "50", "--lr", "1e-3"];
    fail(
        &[&resume[..], &["--preset", "dictionary-learning-topk", "--warmup", "1", "--features", "120"]].concat(),
        2,
        "and was",
    );
    succeed(&[&resume[..], &["--preset", "saelens-topk", "--features", "120"]].concat());
}

#[test]
fn every_preset_trains_and_is_planned_for() {
    let files = Files::new();
    let refused = monosem(&["train", "--data", &files.data, "--out", &files.path("out"), "--preset", "other"]);
    let words = String::from_utf8(refused.stderr).unwrap();
    let names = words.split("there are ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(names.split(", ").count(), 15, "{names}");
    let flags = ["--features", "300", "--batch", "50", "--device", "cpu"];
    for name in names.split(", ") {
        let auxk: &[&str] = if name == "openai-topk" { &["--auxk-k", "3"] } else { &[] };
        let has_k = ["topk", "matryoshka", "adam"].iter().any(|end| name.ends_with(end));
        let k: &[&str] = if has_k { &["--k", "4"] } else { &[] };
        let sized = [&["--preset", name][..], k, &flags, auxk].concat();
        let run = train(&files, name, &[&sized[..], &["--steps", "3", "--warmup", "0"]].concat());
        let lines = metrics(Path::new(&run));
        assert!(lines.iter().all(|line| line["fvu"].as_f64().is_some_and(f64::is_finite)), "{name}: {lines:?}");
        let planned: Value = serde_json::from_str(&succeed(
            &[&["plan", "--d", "768", "--json", "--assume-memory", "1GiB"], &sized[..4 + k.len()], auxk].concat(),
        ))
        .unwrap();
        let batch = if name.starts_with("saelens") { 4096 } else { planned["batch"].as_u64().unwrap() };
        assert_eq!((planned["k"].as_u64(), planned["batch"].as_u64()), (has_k.then_some(4), Some(batch)), "{name}");
    }
    let openai: Value = serde_json::from_str(&succeed(&[
        "plan",
        "--d",
        "768",
        "--preset",
        "openai-topk",
        "--assume-memory",
        "8GiB",
        "--json",
    ]))
    .unwrap();
    assert_eq!([&openai["features"], &openai["k"], &openai["batch"]], [32_768, 32, 131_072]);
}

#[test]
fn a_run_starts_from_an_sae_of_its_kind() {
    let files = Files::new();
    let steps = ["--steps", "4"];
    let first = train(&files, "first", &[&SIZES[..], &steps, &["--checkpoint-every", "2"]].concat());
    let frozen = ["--steps", "1", "--warmup", "1", "--decay", "0", "--init", &first];
    // The rate of the first warm-up step is 0: what is saved is what it started from.
    let same = train(&files, "same", &[&SIZES[..], &frozen].concat());
    let values = |run: &str| {
        let file = fs::read(Path::new(run).join("sae/sae_weights.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let all: Vec<f32> = ["W_enc", "b_enc", "b_dec", "W_dec"]
            .iter()
            .flat_map(|name| bytemuck::pod_collect_to_vec::<u8, f32>(tensors.tensor(name).unwrap().data()))
            .collect();
        all
    };
    let largest = values(&same).iter().zip(&values(&first)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-6, "{largest}");
    let start = record(&same)["start"]["sae"].clone();
    assert_eq!(start["checksum"], record(&first)["sae"]["sae_weights.safetensors"]);
    assert!(start["path"].as_str().unwrap().ends_with("/first"), "{start}");
    // Training goes on from there.
    let tuned = train(&files, "tuned", &[&SIZES[..], &steps, &["--init", &first, "--auxk", "saelens"]].concat());
    assert!(metrics(Path::new(&tuned))[0]["fvu"].as_f64() < metrics(Path::new(&first))[0]["fvu"].as_f64());
    let checkpoint = format!("{first}/checkpoints/step-2");
    let of_checkpoint = train(&files, "of-checkpoint", &[&SIZES[..], &steps, &["--init", &checkpoint]].concat());
    assert_eq!(record(&of_checkpoint)["start"]["sae"]["checksum"].as_str().map(str::len), Some(16));

    let out = files.path("refused");
    let refuse = |flags: &[&str], code: i32, words: &str| {
        fail(&[&["train", "--data", &files.data, "--out", &out, "--steps", "4"], flags].concat(), code, words);
        assert!(!Path::new(&out).exists());
    };
    let sizes = |features, k| ["--features", features, "--k", k, "--batch", "50", "--init", &first, "--device", "cpu"];
    refuse(&sizes("41", "4"), 2, "first has another features: 40, where this run has 41");
    refuse(&sizes("40", "5"), 2, "first has another k: 4, where this run has 5");
    let rescaled = [&sizes("40", "4")[..], &["--rescale-acts-by-decoder-norm"]].concat();
    refuse(&rescaled, 2, "another rescale_acts_by_decoder_norm: false, where this run has true");
    refuse(&[&sizes("40", "4")[..], &["--init-b-dec", "zero"]].concat(), 2, "give only one of both");
    refuse(&["--features", "40", "--k", "4", "--init", &files.path("nowhere")], 5, "nowhere");
    let free = train(&files, "free", &[&SIZES[..], &steps, &["--decoder-rule", "free", "--lr", "0.1"]].concat());
    let of_free = ["--features", "40", "--k", "4", "--init", &free, "--batch", "50", "--device", "cpu"];
    refuse(&of_free, 2, "give --decoder-rule free");
    train(&files, "free-again", &[&SIZES[..], &steps, &["--decoder-rule", "free", "--init", &free]].concat());

    // A resume compares the weights, wherever they lie.
    let tuned_sae = files.path("moved");
    fs::rename(&first, &tuned_sae).unwrap();
    fs::write(Path::new(&of_checkpoint).join("run.json"), "{\"state\": \"failed\"}").unwrap();
    fs::remove_dir_all(Path::new(&of_checkpoint).join("sae")).unwrap();
    fail(&["train", "--out", &of_checkpoint, "--resume"], 5, "first");
    let moved = format!("{tuned_sae}/checkpoints/step-2");
    succeed(&["train", "--out", &of_checkpoint, "--resume", "--init", &moved]);
}

#[test]
fn k_falls_over_the_first_steps() {
    let files = Files::new();
    let falls = ["--k-start", "12", "--k-anneal", "40%", "--lr", "1e-3", "--warmup", "0"];
    for arch in ["topk", "batchtopk", "matryoshka"] {
        let steps = ["--steps", "10", "--arch", arch, "--checkpoint-every", "2", "--keep-checkpoints", "9"];
        let run = train(&files, arch, &[&SIZES[..], &steps, &falls].concat());
        let lines = metrics(Path::new(&run));
        let ks: Vec<u64> = lines.iter().map(|line| line["k"].as_u64().unwrap()).collect();
        assert_eq!(ks, [12, 10, 8, 6, 4, 4, 4, 4, 4, 4]);
        assert!(lines[0]["l0"].as_f64() > lines[4]["l0"].as_f64(), "{lines:?}");
        let cfg = fs::read(Path::new(&run).join("sae/cfg.json")).unwrap();
        let cfg: Value = serde_json::from_slice(&cfg).unwrap();
        assert!(arch != "topk" || cfg["k"] == 4, "{cfg}");

        // A resume compares the steps that a share comes to, and has the same bits.
        let done = weights(&run);
        let checkpoints = Path::new(&run).join("checkpoints");
        for step in [4, 6, 8, 10] {
            let _ = fs::remove_dir_all(checkpoints.join(format!("step-{step}")));
        }
        fs::remove_dir_all(Path::new(&run).join("sae")).unwrap();
        fs::write(Path::new(&run).join("run.json"), "{\"state\": \"failed\"}").unwrap();
        let resume = ["train", "--out", &run, "--resume", "--no-autotune"];
        fail(&[&resume[..], &["--k-anneal", "5"]].concat(), 2, "--k-anneal is 5 and was 4 when");
        fail(&[&resume[..], &["--k-start", "13"]].concat(), 2, "--k-start is 13 and was 12 when");
        succeed(&[&resume[..], &["--k-anneal", "4"]].concat());
        assert_eq!(record(&run)["resumed_from"], 2);
        assert!(weights(&run) == done && metrics(Path::new(&run)) == lines, "{arch}");
        // Extended, it has fallen when it had.
        succeed(&[&resume[..], &["--extend", "--steps", "20"]].concat());
        assert_eq!(metrics(Path::new(&run)).iter().map(|line| line["k"].as_u64().unwrap()).sum::<u64>(), 36 + 16 * 4);
    }

    let out = files.path("refused");
    let refuse = |flags: &[&str], words: &str| {
        let command = ["train", "--data", &files.data, "--out", &out, "--steps", "10"];
        fail(&[&command[..], &SIZES, flags].concat(), 2, words);
        assert!(!Path::new(&out).exists());
    };
    refuse(&["--k-start", "3", "--k-anneal", "4"], "k starts at 3 and falls to 4: it must start at 4 or more");
    refuse(&["--k-start", "41", "--k-anneal", "4"], "at most at the number of features, 40");
    refuse(
        &["--k-start", "9", "--k-anneal", "10"],
        "k falls over 10 steps: they must be at least 1 and fewer than all 10",
    );
    refuse(&["--k-start", "9", "--k-anneal", "0"], "k falls over 0 steps");
    refuse(&["--k-start", "9", "--k-anneal", "x"], "not a whole number");
    fail(&["bench", "--k-start", "40", "--k-anneal", "9"], 2, "bench times steps of one k");
    let plan = |flags: &[&str]| -> u64 {
        let plan = ["plan", "--d", "64", "--features", "1000", "--k", "4", "--assume-memory", "1GiB", "--json"];
        let plan: Value = serde_json::from_str(&succeed(&[&plan[..], flags].concat())).unwrap();
        plan["device_bytes_by_part"]["codes"].as_u64().unwrap()
    };
    assert!(plan(&["--k-start", "40", "--k-anneal", "50000"]) > 7 * plan(&[]));
}

#[test]
fn a_run_is_extended_from_its_newest_checkpoint() {
    let files = Files::new();
    let flags = [&SIZES[..], &["--steps", "10", "--lr", "0.01", "--warmup", "2", "--decay", "40%"]].concat();
    let run = train(&files, "run", &[&flags[..], &["--checkpoint-every", "3"]].concat());
    let planned = rates(&run);
    let ten = weights(&run);
    let resume = ["train", "--out", &run, "--resume", "--no-autotune"];
    fail(&[&resume[..], &["--steps", "20"]].concat(), 2, "--extend trains for more steps");
    fail(&[&resume[..], &["--extend", "--steps", "5"]].concat(), 2, "--steps is 5 and was 10 when");
    fail(&[&resume[..], &["--extend", "--steps", "20", "--lr", "0.1"]].concat(), 2, "--lr is 0.1 and was 0.01 when");
    fail(&["train", "--out", &files.path("new"), "--data", &files.data, "--extend", "--steps", "5"], 2, "--resume");
    // Nothing more is asked for: it stays done.
    succeed(&[&resume[..], &["--extend", "--steps", "10"]].concat());
    assert!(weights(&run) == ten);

    succeed(&[&resume[..], &["--extend", "--steps", "20"]].concat());
    let steps: Vec<u64> = metrics(Path::new(&run)).iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>());
    let extended = rates(&run);
    // From the checkpoint of step 9 on it is the schedule of 20 steps, of which the last 8 decay.
    assert_eq!(extended[..9], planned[..9]);
    assert_eq!(extended[9..13], [0.01; 4]);
    assert!((extended[19] - 0.01 / 8.0).abs() < 1e-12, "{extended:?}");
    let record = record(&run);
    assert_eq!((&record["state"], &record["resumed_from"]), (&"done".into(), &9.into()));
    assert_eq!(record["extended"], serde_json::json!([{ "step": 9, "before": 10, "now": 20 }]));
    assert!(weights(&run) != ten && config(&run).contains("steps = 20\n"), "{}", config(&run));
    // Again, and again from its own settings.
    succeed(&[&resume[..], &["--extend", "--steps", "20"]].concat());
    succeed(&resume);
    succeed(&["verify", &run]);

    // A rate that followed from the number of steps stays what it was.
    let short = train(&files, "short", &[&SIZES[..], &["--steps", "6", "--checkpoint-every", "4"]].concat());
    let before = rates(&short);
    succeed(&["train", "--out", &short, "--resume", "--extend", "--tokens", "2k"]);
    let after = rates(&short);
    assert_eq!((after.len(), after[10]), (40, before[0]));

    // So does a share of them in which the penalty rises.
    let flags = ["--sparsity-warmup", "50%", "--steps", "8", "--checkpoint-every", "2", "--batch", "50"];
    let relu = ["--arch", "relu", "--l1", "0.5", "--features", "40", "--device", "cpu"];
    let sparse = train(&files, "sparse", &[&relu[..], &flags].concat());
    succeed(&["train", "--out", &sparse, "--resume", "--extend", "--steps", "12"]);
    let lines = metrics(Path::new(&sparse));
    let coefficients: Vec<f64> = lines.iter().map(|line| line["sparsity_coefficient"].as_f64().unwrap()).collect();
    assert_eq!(coefficients, [&[0.0, 0.125, 0.25, 0.375][..], &[0.5; 8]].concat());

    let none = train(&files, "none", &[&SIZES[..], &["--steps", "4", "--checkpoint-every", "0"]].concat());
    fail(
        &["train", "--out", &none, "--resume", "--extend", "--steps", "8"],
        2,
        "no checkpoint that it could go on from",
    );
}

/// Anthropic's of January 2025: as many features are active as a quantile of each says, above one threshold.
#[test]
fn biases_make_features_active_where_thresholds_are_given() {
    let files = Files::new();
    let flags = ["--arch", "jumprelu", "--l0-coefficient", "0.1", "--init-threshold", "0.1", "--init-l0", "6"];
    let more =
        ["--features", "40", "--batch", "50", "--steps", "1", "--warmup", "1", "--decay", "0", "--device", "cpu"];
    let run = train(&files, "run", &[&flags[..], &more, &["--log-threshold", "--apply-b-dec-to-input=false"]].concat());
    // The first step has a rate of 0.
    let sae = monosem::sae::load(Path::new(&run)).unwrap();
    assert!(sae.tensor("threshold").iter().all(|threshold| (threshold - 0.1).abs() < 1e-6));
    assert!(sae.tensor("b_enc").iter().any(|bias| *bias != 0.0) && !sae.config.apply_b_dec_to_input);
    let l0 = metrics(Path::new(&run))[0]["l0"].as_f64().unwrap();
    // A quantile is the least of the values that are to exceed it.
    assert!(l0 > 4.0 && l0 <= 6.5, "{l0}");
}
