//! `monosem train`: where its settings come from, and what it leaves behind.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::program::cli::{Files, fail, measures, monosem, succeed};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

fn hash(path: &Path) -> String {
    format!("{:x}", Sha256::digest(std::fs::read(path).unwrap()))
}

#[test]
fn the_resolved_configuration_repeats_the_run() {
    let files = Files::new();
    let [first, second] = ["first", "second"].map(|name| files.directory.path().join(name));
    let file = files.path("run.toml");
    std::fs::write(
        &file,
        format!("# A comment.\ndata = [{:?}]\nexpansion = 2\nk = 7\nbatch = 64\ntokens = 200\nseed = 3\n", files.data),
    )
    .unwrap();
    // The flag wins over the file, and the file over the default.
    succeed(&["train", "--config", &file, "--k", "4", "--out", first.to_str().unwrap()]);

    let resolved: toml::Table = read(&first.join("config.toml")).parse().unwrap();
    let integer = |key: &str| resolved[key].as_integer().unwrap();
    assert_eq!(["expansion", "k", "batch", "tokens", "seed"].map(integer), [2, 4, 64, 200, 3]);
    assert_eq!(resolved["clip"].as_float(), Some(1.0));
    assert_eq!(resolved["rescale-acts-by-decoder-norm"].as_bool(), Some(false));
    let text = read(&first.join("config.toml"));
    for derived in ["features = 20", "steps = 4", "lr = ", "warmup = 0", "decay = 0"] {
        assert!(text.contains(&format!("\n# derived: {derived}")), "{text}");
    }

    let config = first.join("config.toml");
    succeed(&["train", "--config", config.to_str().unwrap(), "--out", second.to_str().unwrap()]);
    let weights = "sae/sae_weights.safetensors";
    assert_eq!(hash(&first.join(weights)), hash(&second.join(weights)));
    assert_eq!(read(&first.join("config.toml")), read(&second.join("config.toml")));
}

/// Every flag that defines a run is a key, and the other way around.
#[test]
fn a_file_holds_any_flag() {
    let files = Files::new();
    let out = files.directory.path().join("run");
    let file = files.path("run.toml");
    let keys = format!(
        "data = [{:?}]\ntensor = 'activations'\nexclude-tokens = []\nmax-norm = 100.0\n\
         bad-rows = 'skip'\norder = 'mixed'\nmixing-buffer = '2MiB'\n\
         normalize-activations = 'expected-norm'\n\
         arch = 'topk'\nfeatures = 24\nk = 3\napply-b-dec-to-input = false\n\
         rescale-acts-by-decoder-norm = true\nauxk = 'saelens'\nauxk-coefficient = 0.5\nauxk-k = 3\n\
         init-decoder-norm = 0.5\ninit-encoder = 'linear'\ninit-b-dec = 'mean'\n\
         batch = 10\nsteps = 2\nlr = 1e-3\nschedule = 'cosine'\nwarmup = 1\ndecay = 1\nadam-beta1 = 0.8\n\
         adam-beta2 = 0.99\nadam-eps = 1e-7\nclip = 0\ndecoder-rule = 'free'\ndead-window = 30\n\
         moments = 'bf16'\nseed = 9\n\
         log-every = 1\ncheckpoint-every = 7\nkeep-checkpoints = 3\nmodel-name = 'm'\nhook-name = 'h'\n\
         context-size = 64\ndataset-path = 'd'\ndevice = 'cpu'\nscreening = 'f32'\n",
        files.data
    );
    std::fs::write(&file, &keys).unwrap();
    succeed(&["train", "--config", &file, "--out", out.to_str().unwrap()]);
    let expected: toml::Table = keys.parse().unwrap();
    let mut resolved: toml::Table = read(&out.join("config.toml")).parse().unwrap();
    resolved.insert("clip".into(), resolved["clip"].as_float().unwrap().to_string().parse::<i64>().unwrap().into());
    assert_eq!(resolved, expected);

    let cfg = json(&out.join("sae/cfg.json"));
    assert_eq!((&cfg["rescale_acts_by_decoder_norm"], &cfg["apply_b_dec_to_input"]), (&true.into(), &false.into()));
    // A switch of the file is turned off by the flag.
    let off = files.directory.path().join("off");
    succeed(&[
        "train",
        "--config",
        &file,
        "--out",
        off.to_str().unwrap(),
        "--rescale-acts-by-decoder-norm=false",
        "--model-name",
        "another",
    ]);
    let cfg = json(&off.join("sae/cfg.json"));
    assert_eq!(cfg["rescale_acts_by_decoder_norm"], false);
    assert_eq!(cfg["metadata"]["model_name"], "another");
}

#[test]
fn flags_override_the_metadata_of_the_data() {
    let files = Files::new();
    let out = files.directory.path().join("run");
    let sizes = ["--features", "20", "--k", "4", "--batch", "10", "--steps", "1"];
    let flags = ["--hook-name", "blocks.3.hook_resid_post", "--context-size", "128", "--dataset-path", "text"];
    let train = ["train", "--data", &files.data, "--out", out.to_str().unwrap()];
    succeed(&[&train[..], &sizes, &flags].concat());
    let metadata = &json(&out.join("sae/cfg.json"))["metadata"];
    assert_eq!(metadata["model_name"], "a model", "from the data");
    assert_eq!(metadata["hook_name"], "blocks.3.hook_resid_post");
    assert_eq!(metadata["context_size"], 128);
    assert_eq!(metadata["dataset_path"], "text");
}

#[test]
fn the_run_is_recorded() {
    let files = Files::new();
    let out = files.directory.path().join("run");
    let train = ["train", "--data", &files.data, "--out", out.to_str().unwrap(), "--features", "20", "--k", "4"];
    succeed(&[&train[..], &["--batch", "10", "--steps", "2", "--seed", "5"]].concat());
    let run = json(&out.join("run.json"));
    assert_eq!((&run["state"], &run["error"], &run["seed"]), (&"done".into(), &Value::Null, &5.into()));
    assert_eq!(run["version"], env!("CARGO_PKG_VERSION"));
    assert!(run["commit"].as_str().is_none_or(|commit| commit.len() >= 40), "{run}");
    assert_eq!(run["command_line"][1], "train");
    let data = &run["data"][0];
    assert_eq!((&data["path"], &data["rows"], &data["width"]), (&files.data.as_str().into(), &500.into(), &10.into()));
    assert_eq!(data["bytes"], std::fs::metadata(&files.data).unwrap().len());
    assert_eq!(
        (run["host"]["os"].as_str(), run["host"]["arch"].as_str()),
        (Some(std::env::consts::OS), Some(std::env::consts::ARCH))
    );
    for key in ["adapter", "adapter_kind", "backend", "driver"] {
        assert!(run[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {run}");
    }
    let time = |key: &str| humantime::parse_rfc3339(run[key].as_str().unwrap()).unwrap();
    assert!(time("start_time") <= time("end_time"));
    assert!(run["wall_seconds"].as_f64().unwrap() > 0.0);
    let mut names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names[1].starts_with("events.out.tfevents."), "{names:?}");
    names.remove(1);
    assert_eq!(names, ["config.toml", "metrics.jsonl", "run.json", "sae"]);
}

#[test]
fn json_is_a_line_a_logged_step_and_the_result() {
    let files = Files::new();
    let out = files.directory.path().join("run");
    let train = ["train", "--json", "-q", "--data", &files.data, "--out", out.to_str().unwrap(), "--features", "20"];
    let output = monosem(&[&train[..], &["--k", "4", "--batch", "10", "--steps", "5", "--log-every", "2"]].concat());
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("step"), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<_> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 4, 5, 5]);
    let (result, logged) = lines.split_last().unwrap();
    assert_eq!((&result["state"], &result["sae"]), (&"done".into(), &out.join("sae").to_str().unwrap().into()));
    assert_eq!(result["fvu"], logged[3]["fvu"]);
    assert_eq!((&result["type"], &result["data"]), (&"train".into(), &serde_json::json!([files.data])));
    let metrics = read(&out.join("metrics.jsonl"));
    for (line, metrics) in logged.iter().zip(metrics.lines()) {
        let mut expected: Value = serde_json::from_str(metrics).unwrap();
        assert!(expected["type"].is_null(), "{metrics}");
        expected["type"] = "step".into();
        assert_eq!(*line, expected);
    }
    assert_eq!(metrics.lines().count(), logged.len());
}

#[test]
fn words_are_told_unless_quiet() {
    let files = Files::new();
    let train = |name: &str, flag: &str| {
        let out = files.path(name);
        let sizes = ["--features", "20", "--k", "4", "--batch", "10", "--steps", "2", "--out", &out, flag];
        let output = monosem(&[&["train", "--data", &files.data][..], &sizes].concat());
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let loud = train("loud", "-v");
    for words in ["device: ", "step 1/2  loss", "step 2/2  loss", "saved", "INFO"] {
        assert!(loud.contains(words), "{words}: {loud}");
    }
    assert!(!loud.contains('\x1b'), "colours only on a terminal: {loud:?}");
    let quiet = train("quiet", "--quiet");
    assert!(!["device", "step", "saved"].iter().any(|words| quiet.contains(words)), "{quiet}");
}

#[test]
fn configuration_files_are_refused_by_line_and_key() {
    let files = Files::new();
    let out = files.path("run");
    let refuse = |text: &[u8], flags: &[&str], words: &[&str]| {
        let file = files.path("bad\n.toml");
        std::fs::write(&file, text).unwrap();
        let command = ["train", "--out", &out, "--data", &files.data, "--config", &file];
        for words in words {
            fail(&[&command[..], flags].concat(), 2, words);
        }
        assert!(!Path::new(&out).exists());
    };
    let sizes = ["--features", "20", "--k", "4", "--batch", "10", "--steps", "2"];
    refuse(b"k = 4\nfaetures = 20\n", &sizes[2..], &["bad\\n.toml, line 2: there is no key `faetures`", "`features`?"]);
    refuse(b"k = 4\nlog_every = 20\n", &sizes, &["line 2", "did you mean `log-every`?"]);
    refuse(b"\n\n\"x\\u001by\" = 1\n", &sizes, &["line 3: there is no key `x\\u{1b}y`; there are data, "]);
    refuse(b"[training]\nk = 4\n", &sizes, &["line 1: there is no key `training`"]);
    refuse(b"out = 'elsewhere'\n", &sizes, &["there is no key `out`"]);
    refuse(b"k = 4\nk = 5\n", &sizes, &["line 2", "duplicate key"]);
    refuse(
        b"seed = 1\nk = 'many'\n",
        &["--features", "20", "--steps", "2"],
        &["line 2: k: invalid value 'many' for '--k <K|default>': not a whole number"],
    );
    refuse(b"batch = -1\n", &sizes, &["line 1: batch: invalid value '-1'", "must be at least 1"]);
    refuse(b"log-every = 0\n", &sizes, &["line 1: log-every: ", "must be at least 1"]);
    refuse(b"model-name = ''\n", &sizes, &["line 1: model-name: ", "must not be empty"]);
    refuse(b"k = [4]\n", &sizes, &["line 1: k: is a list, where one value is needed"]);
    refuse(b"lr = nan\n", &sizes, &["line 1: lr: ", "must be finite and above 0"]);
    refuse(b"steps = 1.5\n", &sizes, &["line 1: steps: ", "not a whole number"]);
    refuse(b"exclude-tokens = 'many'\n", &sizes, &["line 1: exclude-tokens: invalid value 'many'"]);
    refuse(b"exclude-tokens = 3_000_000_000\n", &sizes, &["line 1: exclude-tokens: invalid value '3000000000'"]);
    refuse(b"k = = 4\n", &sizes, &["line 1: "]);
    refuse(b"k = \xff\n", &sizes, &["is not text in UTF-8"]);
    refuse(&vec![b'\n'; (1 << 20) + 1], &sizes, &["is larger than any configuration"]);
    // Contradictions, wherever they come from.
    refuse(b"features = 20\nexpansion = 2\n", &sizes[2..], &["--features <N>' cannot be used with '--expansion <X>"]);
    refuse(b"k = 4\n", &sizes[2..], &["neither --features nor --expansion"]);
    refuse(b"k = 4\n", &sizes[..6], &["neither --steps nor --tokens"]);
    refuse(b"k = 21\nfeatures = 20\nsteps = 1\n", &[], &["k is 21"]);
    fail(
        &[&["train", "--out", &out, "--data", &files.data, "--config", &files.path("none")][..], &sizes].concat(),
        5,
        "none",
    );
    fail(&["train", "--out", &out, "--config", "/dev/null"], 2, "neither --features");
    fail(&[&["train", "--out", &out, "--config", "/dev/null"][..], &sizes].concat(), 2, "there is no data");
    fail(&["train", "--out", &out], 2, "--data");
}

#[test]
fn screening_in_f16_changes_nothing_that_is_written() {
    let files = Files::new();
    let sizes = ["--features", "600", "--k", "4", "--batch", "50", "--steps", "6", "--device", "cpu", "--json"];
    let run = |screening: &str| {
        let out = files.path(screening);
        let flags = ["train", "--data", &files.data, "--out", &out, "--screening", screening];
        let summary = succeed(&[&flags, &sizes[..]].concat());
        let summary: Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
        let codes = files.path(&format!("{screening}.safetensors"));
        succeed(&["encode", "--sae", &out, "--data", &files.data, "--screening", screening, "--out", &codes]);
        let metrics = succeed(&["eval", "--sae", &out, "--data", &files.data, "--screening", screening, "--json"]);
        let sae = Path::new(&out).join("sae/sae_weights.safetensors");
        (summary, hash(&sae), hash(Path::new(&codes)), measures(metrics.as_bytes()))
    };
    let ((f16, sae, codes, metrics), expected) = (run("f16"), run("f32"));
    assert_eq!((sae, codes, metrics), (expected.1, expected.2, expected.3));
    let f32 = expected.0;
    assert!(f16["selection"].as_str().unwrap().starts_with("screened in f16 by "), "{f16}");
    assert!(!f32["selection"].as_str().unwrap().starts_with("screened"), "{f32}");
    assert_eq!(f32["uncertain_steps"], 0);
    assert_eq!(f16["loss"], f32["loss"]);
}
