//! What `monosem eval` prints, end to end.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::program::cli::{fail, succeed};
use crate::program::rows::Rows;

const NAMES: [(&str, &str); 1] = [("sources", r#"["books", "forums \u001b[31m"]"#)];
const FEATURES: usize = 24;

/// A run, and rows of three sources in random order of which two have names.
struct Run {
    directory: tempfile::TempDir,
    rows: Rows,
    data: String,
}

impl Run {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rows = Rows::random(200);
        let data = rows.write(&directory.path().join("data"), &NAMES);
        let run = Self { directory, rows, data };
        let (features, out) = (FEATURES.to_string(), run.path("run"));
        let sizes = ["--features", &features, "--k", "4", "--batch", "50", "--steps", "4"];
        succeed(&[&["train", "--data", &run.data, "--out", out.to_str().unwrap()], &sizes[..]].concat());
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn arguments<'a>(&self, sae: &'a str, data: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
        [&["eval", "--sae", sae, "--data"], data, rest].concat()
    }

    fn eval(&self, data: &[&str]) -> Value {
        let run = self.path("run");
        let printed = succeed(&self.arguments(run.to_str().unwrap(), data, &["--json", "--batch", "64"]));
        assert_eq!(printed.lines().count(), 1);
        serde_json::from_str(&printed).unwrap()
    }
}

#[test]
fn each_source_is_measured_as_if_it_were_alone() {
    let run = Run::new();
    let all = run.eval(&[&run.data]);
    let sources = all["sources"].as_object().unwrap();
    assert_eq!(sources.len(), 3);
    let mut tokens = 0;
    for (source, name) in [(0, "books"), (1, "forums \u{1b}[31m"), (2, "2")] {
        let alone = run.rows.filter(|row| run.rows.sources[row] == source);
        let alone = run.eval(&[&alone.write(&run.path(&format!("alone-{source}")), &NAMES)]);
        for (field, value) in sources[name].as_object().unwrap() {
            assert_eq!(value, &alone[field], "{field} of source {source}");
        }
        let fields: Vec<_> = sources[name].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["cosine", "explained_variance", "fvu", "l0", "mse", "tokens"]);
        tokens += sources[name]["tokens"].as_u64().unwrap();
        // The sources' means lie apart, so each has less variance about its own than about that of all.
        assert!(sources[name]["fvu"].as_f64() > all["fvu"].as_f64());
    }
    assert_eq!(Some(tokens), all["tokens"].as_u64());
}

#[test]
fn sources_of_one_name_are_one_source() {
    let run = Run::new();
    // In this file the names are in another order.
    let other = run.rows.filter(|row| row < 30).write(&run.path("other"), &[("sources", "forums, books")]);
    let tokens = |result: &Value, name: &str| result["sources"][name]["tokens"].as_u64().unwrap_or(0);
    let [whole, part, both] = [&[&*run.data][..], &[&other], &[&run.data, &other]].map(|data| run.eval(data));
    assert_eq!((tokens(&whole, "books"), tokens(&part, "books"), tokens(&part, "forums")), (67, 10, 10));
    for name in ["books", "forums", "forums \u{1b}[31m", "2"] {
        assert_eq!(tokens(&both, name), tokens(&whole, name) + tokens(&part, name), "{name}");
    }
}

#[test]
fn people_get_a_list_and_a_table() {
    let run = Run::new();
    let directory = run.path("run");
    let text = succeed(&run.arguments(directory.to_str().unwrap(), &[&run.data], &[]));
    let json = run.eval(&[&run.data]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    // People know what they typed, and the device is on stderr.
    let only_json =
        ["type", "version", "commit", "sae", "data", "device", "driver", "backend", "sources", "fvu_at_k", "density"];
    assert!(only_json.iter().all(|name| json.get(name).is_some()), "{json}");
    let measures = json.as_object().unwrap().iter().filter(|(name, _)| !only_json.contains(&name.as_str()));
    for (name, value) in measures {
        let line = lines.iter().find(|line| line.first() == Some(&name.as_str())).unwrap_or_else(|| panic!("{text}"));
        match value.as_f64() {
            Some(value) => assert!((line[1].parse::<f64>().unwrap() - value).abs() < 1e-6, "{name}: {text}"),
            None => assert_eq!(line[1], "-", "{name}"),
        }
    }
    let table = lines.iter().position(|line| line.is_empty()).unwrap() + 1;
    assert_eq!(lines[table], ["source", "tokens", "fvu", "explained_variance", "mse", "l0", "cosine"]);
    let first: Vec<&str> = lines[table + 1..].iter().map_while(|line| line.first().copied()).collect();
    assert_eq!(first, ["2", "books", "forums"]);
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let rows = text.lines().skip(table).take_while(|line| !line.is_empty());
    let widths: Vec<usize> = rows.map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
}

#[test]
fn json_says_what_was_measured_and_where() {
    let run = Run::new();
    let other = run.rows.filter(|row| row < 30).write(&run.path("other"), &NAMES);
    let line = run.eval(&[&run.data, &other]);
    assert_eq!((&line["type"], &line["version"]), (&"eval".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(line["data"], json!([{ "path": run.data, "rows": 200 }, { "path": other, "rows": 30 }]));
    let record: Value = serde_json::from_slice(&fs::read(run.path("run/run.json")).unwrap()).unwrap();
    for (name, recorded) in [("device", "adapter"), ("driver", "driver"), ("backend", "backend")] {
        assert_eq!(line[name], record[recorded]);
    }
    let checksum = &record["sae"]["sae_weights.safetensors"];
    let path = run.path("run");
    let sae = json!({ "path": path.to_str().unwrap(), "checkpoint": null, "step": null, "checksum": checksum });
    assert!(checksum.is_string());
    assert_eq!(line["sae"], sae);
}

#[test]
fn a_huge_row_is_named_with_its_file() {
    let run = Run::new();
    let mut rows = run.rows.filter(|row| row < 100);
    rows.push([1e20; 6], 0, 0);
    let (directory, huge) = (run.path("run"), rows.write(&run.path("huge\n"), &NAMES));
    let directory = directory.to_str().unwrap();
    let words = "huge\\n: row 100: the loss is not finite: its values are too large for f32";
    // In the first, a middle and the last batch, of which some are shorter.
    for (data, batch) in [(&[&*huge][..], "200"), (&[&huge, &run.data], "64"), (&[&run.data, &huge], "64")] {
        fail(&run.arguments(directory, data, &["--batch", batch]), 3, words);
    }
    // Rows that are left out move the places of those after them.
    fail(&run.arguments(directory, &[&huge], &["--batch", "7", "--exclude-tokens", "3"]), 3, words);
    succeed(&run.arguments(directory, &[&huge], &["--max-norm", "10"]));
}

#[test]
fn dead_features_are_those_of_the_runs_counters() {
    let run = Run::new();
    let metrics = run.path("run/metrics.jsonl");
    let line = |tokens: u64, dead: usize| format!("{}\n", json!({"step": 1, "tokens": tokens, "dead": dead}));
    assert_eq!(run.eval(&[&run.data])["dead_fraction"], Value::Null, "after 200 tokens nobody can tell");
    for (text, expected) in [
        (line(9_999_999, 6), json!(null)),
        (line(10_000_000, 6), json!(0.25)),
        (line(99_000_000, 1) + &line(100_000_000, 12), json!(0.5)),
        (line(10_000_000, 0), json!(0.0)),
        (line(10_000_000, FEATURES + 1), json!(null)),
        (line(10_000_000, 6) + "{\"step\": 2, \"tok", json!(null)),
        (String::new(), json!(null)),
    ] {
        fs::write(&metrics, &text).unwrap();
        assert_eq!(run.eval(&[&run.data])["dead_fraction"], expected, "{text}");
    }
    fs::remove_file(&metrics).unwrap();
    assert_eq!(run.eval(&[&run.data])["dead_fraction"], Value::Null);
}

#[test]
fn unusable_data_is_refused() {
    let run = Run::new();
    let directory = run.path("run");
    let eval = |data: &str, rest: &[&str], code, words: &str| {
        fail(&run.arguments(directory.to_str().unwrap(), &[data], rest), code, words);
    };
    let bytes = fs::read(&run.data).unwrap();
    // The same length, so that the file stays whole.
    let edited = |name: &str, from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let path = run.path(name);
        fs::write(&path, [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let float = edited("float", r#""I32""#, r#""F32""#);
    eval(
        &float,
        &["--exclude-tokens", "1"],
        3,
        "float: tensor `token_ids` is F32; write it as U8, U16, U32, I32 or I64",
    );
    eval(&run.data, &["--max-norm", "0"], 2, "must be finite and above 0");
    eval(&run.data, &["--max-norm", "1e-9"], 2, "all 200 rows are left out");
    eval(&run.data, &["--exclude-tokens", "x"], 2, "--exclude-tokens");
    let short = run.rows.filter(|row| row < 150).write(&run.path("short"), &[]);
    let file = fs::File::options().write(true).open(&short).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    eval(&short, &[], 3, "short");
}

#[test]
fn density_counts_every_feature_and_other_k_are_as_their_own_sae() {
    let run = Run::new();
    let all = run.eval(&[&run.data]);
    let [edges, features] = ["log10_edges", "features"].map(|name| all["density"][name].as_array().unwrap());
    assert_eq!((edges.len(), features.len()), (41, 40));
    let fired: u64 = features.iter().map(|count| count.as_u64().unwrap()).sum();
    let unfired = all["density"]["unfired"].as_u64().unwrap();
    assert_eq!(fired + unfired, FEATURES as u64);
    assert_eq!(unfired as f64 / FEATURES as f64, all["unfired_fraction"].as_f64().unwrap());

    // By default half and twice the 4 of the run; each is what another SAE of that k has.
    let at = |line: &Value, k: &str| line["fvu_at_k"][k].as_f64();
    assert_eq!(all["fvu_at_k"].as_object().unwrap().len(), 2);
    let (half, own, twice) = (at(&all, "2").unwrap(), all["fvu"].as_f64().unwrap(), at(&all, "8").unwrap());
    assert!(half != own && twice != own, "{all}");
    let cfg = fs::read_to_string(run.path("run/sae/cfg.json")).unwrap();
    fs::write(run.path("run/sae/cfg.json"), cfg.replace("\"k\": 4", "\"k\": 8")).unwrap();
    let of_twice = run.eval(&[&run.data]);
    assert_eq!((of_twice["l0"].as_f64().map(|l0| l0 > 4.0), of_twice["fvu"].as_f64()), (Some(true), Some(twice)));
    fs::write(run.path("run/sae/cfg.json"), cfg).unwrap();
    let directory = run.path("run");
    let eval = |rest: &[&str]| -> Value {
        let printed = succeed(&run.arguments(directory.to_str().unwrap(), &[&run.data], &[&["--json"], rest].concat()));
        serde_json::from_str(&printed).unwrap()
    };
    let given = eval(&["--at-k", "1,4,8"]);
    assert_eq!((at(&given, "4"), at(&given, "8")), (Some(own), Some(twice)));
    assert!(at(&given, "1").is_some_and(|one| one != half));
    assert_eq!(eval(&["--at-k", "none"])["fvu_at_k"], json!({}));
    for (wrong, words) in
        [("25", "--at-k 25: this SAE of 24 features"), ("none,2", "between commas"), ("0", "at least 1")]
    {
        fail(&run.arguments(directory.to_str().unwrap(), &[&run.data], &["--at-k", wrong]), 2, words);
    }

    let text = succeed(&run.arguments(directory.to_str().unwrap(), &[&run.data], &[]));
    assert!(text.contains("fvu at k 2 ") && text.contains("fvu at k 8 "), "{text}");
    let table = text.split("log10 density").nth(1).unwrap();
    let counts = table.lines().skip(1).map(|line| line.split("  ").find_map(|cell| cell.trim().parse::<u64>().ok()));
    assert_eq!(counts.flatten().sum::<u64>(), FEATURES as u64, "{table}");
}
