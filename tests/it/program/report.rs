//! `monosem report` and `explore`, over sets written here by docs/features.md.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::program::cli::{command, fail, succeed};

/// What a page must show and never run, nor let change what stands around it.
const HOSTILE: [&str; 9] = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"); window.hacked = 1; (\"",
    "\u{202e}desrever\u{2066}",
    "nul\0tab\tline\nseparators\u{2028}\u{2029}",
    "__proto__",
    "<!-- <script>",
    "${window.hacked = 1}`",
];

const WORDS: [&str; 12] =
    ["The", " river", " ran", " under", " an", " old", " bridge", ",", " and", " people", " crossed", "."];

const FEATURES: usize = 200;
const BINS: usize = 40;
const TOKENS: u64 = 100_000;

/// A set of [`FEATURES`] features; some are dead, and one has every hostile text.
pub fn write_set(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let description = json!({
        "format": "monosem.features", "format_version": 1, "monosem_version": "0.0.0",
        "sae": {"path": "sae", "architecture": "topk", "d_in": 16, "features": FEATURES, "k": 8,
            "model_name": HOSTILE[2], "hook_name": "blocks.1.hook_resid_post"},
        "data": [{"path": "a.safetensors", "rows": TOKENS}], "tokens": TOKENS,
        "examples": {"per_interval": 4, "intervals": 4, "before": 5, "after": 6},
        "has": {"token_ids": true, "contexts": true, "text": true, "sources": true, "neighbors": true, "logits": true,
            "labels": true},
        "missing": ["nothing, but for <b>markup</b>"],
        "sources": ["books", HOSTILE[0]], "source_tokens": [TOKENS / 3, TOKENS - TOKENS / 3], "special_tokens": [],
        "histogram_log2_edges": (0..=BINS).map(|at| at as f64 / 2.0 - 12.0).collect::<Vec<_>>(),
    });
    fs::write(dir.join("features.json"), description.to_string()).unwrap();
    write_statistics(dir);
    write_neighbors(dir);
    write_logits(dir);
    let lines: Vec<String> = (0..FEATURES).map(|feature| line(feature).to_string()).collect();
    fs::write(dir.join("examples-00000.jsonl"), lines.join("\n") + "\n").unwrap();
    let labels = [(3, "rivers and what crosses them"), (7, HOSTILE[1])];
    let labels = labels.map(|(feature, label)| json!({"feature": feature, "label": label, "score": 0.87}).to_string());
    fs::write(dir.join("labels.jsonl"), labels.join("\n")).unwrap();
}

fn is_dead(feature: usize) -> bool {
    feature % 50 == 49
}

fn count(feature: usize) -> i64 {
    if is_dead(feature) { 0 } else { 1 + (20_000.0 / (1 + feature * 7 % FEATURES) as f64) as i64 }
}

fn maximum(feature: usize) -> f32 {
    if is_dead(feature) { 0.0 } else { 2.0 + (feature % 17) as f32 / 3.0 }
}

fn write_statistics(dir: &Path) {
    let counts: Vec<i64> = (0..FEATURES).map(count).collect();
    let maxima: Vec<f32> = (0..FEATURES).map(maximum).collect();
    let means: Vec<f32> = maxima.iter().map(|maximum| maximum / 3.0).collect();
    let bin = |feature: usize, at: usize| {
        let distance = (at as f64 - 22.0 - (feature % 5) as f64) / 3.0;
        (count(feature) as f64 * (-distance * distance).exp() / 5.0) as i64
    };
    let histogram: Vec<i64> = (0..FEATURES * BINS).map(|at| bin(at / BINS, at % BINS)).collect();
    let by_source: Vec<i64> = counts.iter().flat_map(|count| [count / 3, count - count / 3]).collect();
    let best: Vec<i32> = (0..FEATURES as i32).map(|feature| feature % 16).collect();
    let cosines: Vec<f32> = (0..FEATURES).map(|feature| 0.5 + (feature % 40) as f32 / 100.0).collect();
    let norms = vec![1_f32; FEATURES];
    let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let n = FEATURES;
    let tensors = [
        ("count", view(Dtype::I64, &[n], bytemuck::cast_slice(&counts))),
        ("maximum", view(Dtype::F32, &[n], bytemuck::cast_slice(&maxima))),
        ("mean", view(Dtype::F32, &[n], bytemuck::cast_slice(&means))),
        ("histogram", view(Dtype::I64, &[n, BINS], bytemuck::cast_slice(&histogram))),
        ("source_count", view(Dtype::I64, &[n, 2], bytemuck::cast_slice(&by_source))),
        ("decoder_norm", view(Dtype::F32, &[n], bytemuck::cast_slice(&norms))),
        ("encoder_decoder_cosine", view(Dtype::F32, &[n], bytemuck::cast_slice(&cosines))),
        ("best_dimension", view(Dtype::I32, &[n], bytemuck::cast_slice(&best))),
        ("best_dimension_correlation", view(Dtype::F32, &[n], bytemuck::cast_slice(&cosines))),
    ];
    safetensors::serialize_to_file(tensors, None, &dir.join("statistics.safetensors")).unwrap();
}

/// Groups of ten, whose members are one another's neighbours.
fn write_neighbors(dir: &Path) {
    const EACH: usize = 9;
    let neighbor = |at: usize| {
        let (feature, place) = (at / EACH, at % EACH);
        (feature / 10 * 10 + (feature % 10 + 1 + place) % 10) as i32
    };
    let neighbors: Vec<i32> = (0..FEATURES * EACH).map(neighbor).collect();
    let cosines: Vec<f32> = (0..FEATURES * EACH).map(|at| 0.9 - (at % EACH) as f32 / 20.0).collect();
    let shape = vec![FEATURES, EACH];
    let tensors = [
        ("neighbors", TensorView::new(Dtype::I32, shape.clone(), bytemuck::cast_slice(&neighbors)).unwrap()),
        ("cosines", TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(&cosines)).unwrap()),
    ];
    safetensors::serialize_to_file(tensors, None, &dir.join("neighbors.safetensors")).unwrap();
}

/// Tokens of the examples, and one that no example has.
fn write_logits(dir: &Path) {
    const EACH: usize = 5;
    let token = |at: usize| if at % EACH == 4 { 999 } else { (at % WORDS.len()) as i32 };
    let tokens: Vec<i32> = (0..FEATURES * EACH).map(token).collect();
    let top: Vec<f32> = (0..FEATURES * EACH).map(|at| 2.0 - (at % EACH) as f32 / 4.0).collect();
    let bottom: Vec<f32> = top.iter().map(|value| -value).collect();
    let shape = vec![FEATURES, EACH];
    let view = |dtype, bytes| TensorView::new(dtype, shape.clone(), bytes).unwrap();
    let tensors = [
        ("top_tokens", view(Dtype::I32, bytemuck::cast_slice(&tokens))),
        ("top_logits", view(Dtype::F32, bytemuck::cast_slice(&top))),
        ("bottom_tokens", view(Dtype::I32, bytemuck::cast_slice(&tokens))),
        ("bottom_logits", view(Dtype::F32, bytemuck::cast_slice(&bottom))),
    ];
    safetensors::serialize_to_file(tensors, None, &dir.join("logits.safetensors")).unwrap();
}

/// The examples of a feature: the words turned by its number, and the hostile texts in feature 7.
fn line(feature: usize) -> Value {
    if is_dead(feature) {
        return json!({"feature": feature, "top_tokens": [], "examples": []});
    }
    let huge = "x".repeat(1 << 20);
    let hostile: Vec<&str> = HOSTILE.into_iter().chain([&*huge, "שלום", " end"]).collect();
    let text: Vec<&str> = match feature {
        7 => hostile,
        _ => (0..WORDS.len()).map(|at| WORDS[(at + feature) % WORDS.len()]).collect(),
    };
    let focus = 5;
    let tokens: Vec<i64> = (0..text.len()).map(|at| ((at + feature) % WORDS.len()) as i64).collect();
    let example = |number: usize| {
        let (interval, activation) = (number / 4, maximum(feature) * (1.0 - number as f32 / 16.0));
        let mut activations = vec![0.0; text.len()];
        (activations[focus], activations[focus - 1]) = (activation, activation / 3.0);
        json!({
            "interval": interval, "activation": activation, "row": 100 * feature + number, "sequence": number,
            "position": focus, "source": if number.is_multiple_of(2) { "books" } else { HOSTILE[0] }, "tokens": tokens,
            "text": text, "activations": activations, "focus": focus, "missing_before": number % 2, "missing_after": 3,
        })
    };
    let top = |at: usize, count: u64| json!({"token": at, "text": text[at], "count": count, "mean": 1.5});
    let examples: Vec<Value> = (0..16).map(example).collect();
    json!({"feature": feature, "top_tokens": [top(focus, 31), top(0, 7), top(1, 2)], "examples": examples})
}

struct Set {
    directory: tempfile::TempDir,
}

impl Set {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_set(&directory.path().join("set"));
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }
}

/// The JSON that a script hands over.
pub fn handed_over(path: &str) -> Value {
    let script = fs::read_to_string(path).unwrap();
    let arguments = script.split_once('(').unwrap().1.strip_suffix(");\n").unwrap();
    let literal = &arguments[arguments.find('"').unwrap()..];
    serde_json::from_str(&serde_json::from_str::<String>(literal).unwrap()).unwrap()
}

#[test]
fn a_report_has_the_features_of_its_set() {
    let set = Set::new();
    let line = succeed(&["report", "--features", &set.path("set"), "--json", "--quiet"]);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["type"], &line["features"]), (&"report".into(), &FEATURES.into()));
    let index = line["index"].as_str().unwrap();
    assert_eq!(Path::new(index), Path::new(&set.path("set/report/index.html")));

    let overview = handed_over(&set.path("set/report/data/overview.js"));
    assert_eq!(overview["description"]["sae"]["model_name"], HOSTILE[2]);
    assert_eq!(overview["labels"], json!(["rivers and what crosses them", HOSTILE[1]]));
    // Two u16 a feature, in base64.
    assert_eq!(overview["map"].as_str().unwrap().len(), (FEATURES * 4).div_ceil(3) * 4);

    let first = handed_over(&set.path("set/report/data/features/000/000000.js"));
    let seventh = &first[7];
    assert_eq!(seventh["count"], count(7));
    assert_eq!(seventh["examples"][0]["text"][1], HOSTILE[1]);
    assert_eq!(seventh["examples"][0]["text"][9]["characters"], 1 << 20);
    assert_eq!(seventh["examples"][0]["focus"], 5);
    assert_eq!(seventh["neighbors"][0][0], 8);
    assert_eq!(first[0]["top_logits"][0], json!(["The", 2.0]));
    assert_eq!(first[0]["bottom_logits"][4], json!(["#999", -1.0]));
    let last = handed_over(&set.path("set/report/data/features/000/000006.js"));
    assert_eq!(last.as_array().unwrap().len(), FEATURES % 32);

    let tokens = handed_over(&set.path("set/report/data/tokens.js"));
    let texts = tokens["texts"].as_array().unwrap();
    assert!(WORDS.iter().all(|word| texts.contains(&json!(word))));
}

#[test]
fn no_file_of_a_report_lets_data_out_of_its_string() {
    let set = Set::new();
    succeed(&["report", "--features", &set.path("set"), "--out", &set.path("out")]);
    for file in scripts(&PathBuf::from(set.path("out/data"))) {
        let script = fs::read_to_string(&file).unwrap();
        assert!(!script.contains(['<', '>', '\0', '\u{202e}', '\u{2066}', '\u{2028}', '\u{2029}']), "{file:?}");
        assert_eq!(script.lines().count(), 1, "{file:?}");
        assert!(script.len() < 1 << 20, "{file:?}");
    }
    let index = fs::read_to_string(set.path("out/index.html")).unwrap();
    assert!(index.contains("default-src 'none'; script-src 'self'") && !index.contains("unsafe"));
}

fn scripts(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { scripts(&path) } else { vec![path] }).collect()
}

#[test]
fn a_damaged_set_is_refused_and_leaves_nothing() {
    type Change = fn(&str) -> String;
    let damage: [(&str, Change, &str); 6] = [
        ("features.json", |_| "{".to_owned(), "write the set again"),
        ("features.json", |text| text.replace("\"format_version\":1", "\"format_version\":2"), "version 1"),
        ("features.json", |text| text.replace("\"features\":200", "\"features\":201"), "201 rows"),
        ("examples-00000.jsonl", |text| text.lines().skip(1).collect::<Vec<_>>().join("\n"), "feature 1 where 0"),
        ("examples-00000.jsonl", |text| text.replace("\"focus\":5", "\"focus\":99"), "focus"),
        ("labels.jsonl", |_| "{\"feature\": 200, \"label\": \"\"}".to_owned(), "feature 200"),
    ];
    for (name, change, words) in damage {
        let set = Set::new();
        let path = set.path("set").clone() + "/" + name;
        let text = fs::read_to_string(&path).unwrap();
        assert_ne!(change(&text), text, "{name}");
        fs::write(&path, change(&text)).unwrap();
        fail(&["report", "--features", &set.path("set"), "--out", &set.path("out")], 3, words);
        assert_eq!(fs::read_dir(set.directory.path()).unwrap().count(), 1, "{name}: {words}");
    }
    let set = Set::new();
    fail(&["report", "--features", set.directory.path().to_str().unwrap()], 3, "no features.json");
    fail(&["report", "--features", &set.path("set"), "--out", &set.path("set")], 2, "exists");
    fail(&["explore", set.directory.path().to_str().unwrap()], 3, "neither features.json nor index.html");
}

/// Only what is asked of a socket; the answers are those that src/features/report/server/tests.rs checks.
#[cfg(unix)]
#[test]
fn explore_makes_the_report_serves_it_and_ends_by_a_signal() {
    let set = Set::new();
    let mut program = command(&["explore", &set.path("set"), "--port", "0", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let address = line["url"].as_str().unwrap().strip_prefix("http://").unwrap().strip_suffix('/').unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET /data/overview.js HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let written = fs::read_to_string(set.path("set/report/data/overview.js")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&written));
    assert!(Command::new("kill").args(["-INT", &program.id().to_string()]).status().unwrap().success());
    assert_eq!(program.wait().unwrap().code(), Some(130));
}

/// Writes a report to MONOSEM_REPORT_DIR, for tests/browser.
#[test]
#[ignore = "by tests/browser"]
fn a_report_for_a_browser_is_written() {
    let dir = PathBuf::from(std::env::var_os("MONOSEM_REPORT_DIR").expect("MONOSEM_REPORT_DIR names the directory"));
    write_set(&dir.join("set"));
    let (set, out) = (dir.join("set"), dir.join("report"));
    succeed(&["report", "--features", set.to_str().unwrap(), "--out", out.to_str().unwrap()]);
}
