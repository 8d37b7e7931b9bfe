//! Rows left out of training and evaluation, end to end.

use std::path::{Path, PathBuf};

use monosem::rng::{Purpose, Rng, symmetric};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

use crate::program::cli::{command, fail, monosem, succeed};

const D: usize = 6;
const BOS: i32 = 101;

/// Rows with what stands beside them, to be written as a file of activations.
#[derive(Clone, Default)]
pub struct Rows {
    pub values: Vec<f32>,
    pub tokens: Vec<i32>,
    pub sources: Vec<u8>,
}

impl Rows {
    /// Random rows of tokens 0 to 9 and sources 0 to 2, each source about a mean of its own.
    pub fn random(count: usize) -> Self {
        let rng = Rng::new(17, Purpose::Weights);
        let value = |at: usize| symmetric(rng.block(at as u64, 0)[0]) + ((at / D) % 3) as f32;
        Self {
            values: (0..count * D).map(value).collect(),
            tokens: (0..count).map(|row| (row % 10) as i32).collect(),
            sources: (0..count).map(|row| (row % 3) as u8).collect(),
        }
    }

    pub fn push(&mut self, row: [f32; D], token: i32, source: u8) {
        self.values.extend(row);
        self.tokens.push(token);
        self.sources.push(source);
    }

    /// The rows that `keep` keeps, by number.
    pub fn filter(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut kept = Self::default();
        for (row, values) in self.values.chunks_exact(D).enumerate().filter(|(row, _)| keep(*row)) {
            kept.push(values.try_into().unwrap(), self.tokens[row], self.sources[row]);
        }
        kept
    }

    pub fn write(&self, path: &Path, metadata: &[(&str, &str)]) -> String {
        let rows = self.tokens.len();
        let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).unwrap();
        let tensors = [
            ("activations", view(Dtype::F32, vec![rows, D], bytemuck::cast_slice(&self.values))),
            ("token_ids", view(Dtype::I32, vec![rows], bytemuck::cast_slice(&self.tokens))),
            ("source", view(Dtype::U8, vec![rows], &self.sources)),
        ];
        let metadata = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        safetensors::serialize_to_file(tensors, Some(metadata), path).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// The same rows twice: as they are, and with others in between that ruin what learns from them.
struct Poisoned {
    directory: tempfile::TempDir,
    clean: String,
    poisoned: String,
}

const CLEAN: usize = 240;
/// Rows of token `BOS`; and rows whose norm alone tells them, one of them the first row of all.
const POISON: [usize; 2] = [24, 5];

impl Poisoned {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clean = Rows::random(CLEAN);
        let mut poisoned = Rows::default();
        for (row, values) in clean.values.chunks_exact(D).enumerate() {
            if row % 50 == 0 {
                poisoned.push([-3e4; D], 3, 1);
            }
            if row % 10 == 9 {
                poisoned.push([5e3, 0.0, 0.0, -7e3, 0.0, 1.0], BOS, 0);
            }
            poisoned.push(values.try_into().unwrap(), clean.tokens[row], clean.sources[row]);
        }
        let path = |name: &str| directory.path().join(name);
        let (clean, poisoned) = (clean.write(&path("clean"), &[]), poisoned.write(&path("poisoned"), &[]));
        Self { directory, clean, poisoned }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Trains over two epochs; the bytes of the weights, and what was said.
    fn train(&self, data: &str, out: &str, rest: &[&str]) -> (Vec<u8>, String) {
        let out = self.path(out);
        let arguments = ["train", "--data", data, "--out", out.to_str().unwrap(), "--features", "24", "--k", "4"];
        let output = monosem(&[&arguments[..], &["--batch", "60", "--steps", "8"], rest].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (std::fs::read(out.join("sae/sae_weights.safetensors")).unwrap(), said)
    }
}

const FILTER: [&str; 4] = ["--exclude-tokens", "7777,101", "--max-norm", "10"];

#[test]
fn what_is_left_out_of_training_leaves_no_trace() {
    let files = Poisoned::new();
    let (clean, said) = files.train(&files.clean, "clean-run", &[]);
    assert!(!said.contains("excluded"), "{said}");
    let (filtered, said) = files.train(&files.poisoned, "filtered-run", &FILTER);
    assert!(said.contains("excluded 29 of 269 rows (24 by token, 5 by norm)\n"), "{said}");
    assert!(clean == filtered, "other weights than without the rows");
    let (nothing_found, said) = files.train(&files.clean, "nothing-found", &FILTER);
    assert!(said.contains("excluded 0 of 240 rows (0 by token, 0 by norm)\n"), "{said}");
    assert!(clean == nothing_found, "other weights though nothing was left out");
    let (poisoned, _) = files.train(&files.poisoned, "poisoned-run", &[]);
    assert!(clean != poisoned, "the poison has no effect: the test shows nothing");
}

#[test]
fn what_is_left_out_is_not_measured_but_encoded() {
    let files = Poisoned::new();
    files.train(&files.clean, "run", &[]);
    let run = files.path("run");
    let run = run.to_str().unwrap();
    let eval = |data: &str, rest: &[&str]| -> Value {
        let arguments = ["eval", "--sae", run, "--data", data, "--json"];
        let mut line: Value = serde_json::from_str(&succeed(&[&arguments[..], rest].concat())).unwrap();
        assert_eq!(line["data"].take()[0]["path"], data);
        line
    };
    let clean = eval(&files.clean, &[]);
    assert_eq!((&clean["rows_excluded_by_token"], &clean["rows_excluded_by_norm"]), (&0.into(), &0.into()));
    // 50 leaves batches that start and end elsewhere than a run of rows.
    let mut filtered = eval(&files.poisoned, &[&FILTER[..], &["--batch", "50"]].concat());
    assert_eq!(filtered["rows_excluded_by_token"], POISON[0]);
    assert_eq!(filtered["rows_excluded_by_norm"], POISON[1]);
    filtered["rows_excluded_by_token"] = 0.into();
    filtered["rows_excluded_by_norm"] = 0.into();
    assert_eq!(filtered, clean);

    let codes = files.path("codes.safetensors");
    succeed(&["encode", "--sae", run, "--data", &files.poisoned, "--out", codes.to_str().unwrap()]);
    let bytes = std::fs::read(codes).unwrap();
    let indices = SafeTensors::deserialize(&bytes).unwrap().tensor("indices").unwrap().shape().to_vec();
    assert_eq!(indices, [CLEAN + POISON[0] + POISON[1], 4]);
    fail(&["encode", "--sae", run, "--data", &files.clean, "--out", "x", "--max-norm", "3"], 2, "--max-norm");
}

#[test]
fn norms_are_remembered_where_they_can_be() {
    let files = Poisoned::new();
    let (run, cache) = (files.path("run"), files.path("cache"));
    files.train(&files.clean, "run", &[]);
    let arguments = ["eval", "--sae", run.to_str().unwrap(), "--data", &files.poisoned, "--json", "--max-norm", "10"];
    let eval = |cache: &Path| {
        let output = command(&arguments).env("MONOSEM_CACHE_DIR", cache).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let (first, said) = eval(&cache);
    assert!(!said.contains("warning") && std::fs::read_dir(cache.join("norms")).unwrap().count() == 1, "{said}");
    assert!(eval(&cache).0 == first);
    // A file is in the place of the directory.
    let (unremembered, said) = eval(Path::new(&files.clean));
    assert!(unremembered == first && said.contains("warning: "), "{said}");
}

#[test]
fn unusable_filters_end_before_anything_is_made() {
    let files = Poisoned::new();
    let out = files.path("run");
    let bare = files.path("bare");
    let values = TensorView::new(Dtype::F32, vec![20, 1], &[0; 80]).unwrap();
    safetensors::serialize_to_file([("activations", values)], None, &bare).unwrap();
    let refuse = |data: &str, rest: &[&str], code, words: &str| {
        let arguments = ["train", "--data", data, "--out", out.to_str().unwrap(), "--features", "24", "--k", "4"];
        fail(&[&arguments[..], &["--batch", "25", "--steps", "2"], rest].concat(), code, words);
        assert!(!out.exists(), "{rest:?} left a run directory");
    };
    let (data, bare) = (&files.clean, bare.to_str().unwrap());
    for bad in ["0", "-1", "NaN", "-inf", "1e999"] {
        refuse(data, &["--max-norm", bad], 2, "must be finite and above 0");
    }
    refuse(data, &["--max-norm", "ten"], 2, "--max-norm");
    refuse(data, &["--exclude-tokens", "-1,0,1,2,3,4,5,6,7,8,9"], 2, "all 240 rows are left out");
    for bad in ["1,,2", "1,none", "1, 2,x", "2147483648", "1.5"] {
        refuse(data, &["--exclude-tokens", bad], 2, "--exclude-tokens");
    }
    refuse(data, &["--exclude-tokens", "0,1,2,3,4,5,6,7,8"], 2, "there are 24");
    refuse(bare, &["--exclude-tokens", "0"], 3, "bare: has no tensor `token_ids`");
    refuse(bare, &["--max-norm", "10"], 2, "median norm of the rows is 0");
}
