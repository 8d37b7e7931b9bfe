//! The golden vectors: what SAELens and dictionary_learning computed in f64 (see tests/vectors).

use std::{
    fs,
    path::{Path, PathBuf},
};

use monosem::reference::{Forward, List, Parameters};
use monosem::sae::description::{Features, Penalty, Role};
use monosem::sae::{
    Architecture, AuxK, AuxKForm, BatchTopK, Gated, InputNormalization, JumpRelu, Matryoshka, PreActivation, Relu,
    SaeConfig, TopK,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Where the vectors are: `MONOSEM_VECTORS`, or tests/vectors of this crate.
pub fn directory() -> PathBuf {
    std::env::var_os("MONOSEM_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), PathBuf::from)
}

/// The training cases in [`directory`] whose class satisfies `wanted`, by name. Panics if there is none.
pub fn cases(wanted: impl Fn(&str) -> bool) -> Vec<Vectors> {
    let cases: Vec<_> = entries()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .map(|path| Vectors::open(&path))
        .filter(|vectors| vectors.case["class"].as_str().is_some_and(&wanted))
        .collect();
    assert!(!cases.is_empty(), "no vectors in {}", directory().display());
    cases
}

/// The SAELens directories in [`directory`] of `architecture`, by name. Panics if there is none.
pub fn saelens_directories(architecture: &str) -> Vec<PathBuf> {
    let directories: Vec<_> = entries()
        .into_iter()
        .filter(|path| path.join("cfg.json").exists())
        .filter(|path| json(&path.join("cfg.json"))["architecture"] == architecture)
        .collect();
    assert!(!directories.is_empty(), "no {architecture} directory in {}", directory().display());
    directories
}

/// The JSON in a file.
pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn entries() -> Vec<PathBuf> {
    let directory = directory();
    let mut entries: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

/// One safetensors file.
pub struct Vectors {
    /// The file's stem.
    pub name: String,
    /// The `case` metadata; null if the file has none.
    pub case: Value,
    bytes: Vec<u8>,
}

impl Vectors {
    /// Reads a file.
    pub fn open(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let case = header.metadata().as_ref().and_then(|metadata| metadata.get("case"));
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            case: case.map_or(Value::Null, |case| serde_json::from_str(case).unwrap()),
            bytes,
        }
    }

    /// The tensor's shape.
    pub fn dims(&self, tensor: &str) -> Vec<usize> {
        self.tensors().tensor(tensor).unwrap().shape().to_vec()
    }

    /// The tensor's numbers (F64, F32 or U8), row-major.
    pub fn f64s(&self, tensor: &str) -> Vec<f64> {
        let tensors = self.tensors();
        let view = tensors.tensor(tensor).unwrap_or_else(|e| panic!("{}: {tensor}: {e}", self.name));
        let data = view.data();
        match view.dtype() {
            Dtype::F64 => numbers(data, f64::from_le_bytes),
            Dtype::F32 => numbers(data, |bytes| f32::from_le_bytes(bytes).into()),
            Dtype::U8 => numbers(data, |[byte]| byte.into()),
            other => panic!("{}: {tensor} is {other:?}", self.name),
        }
    }

    /// The tensor's only number.
    pub fn scalar(&self, tensor: &str) -> f64 {
        let numbers = self.f64s(tensor);
        assert_eq!(numbers.len(), 1, "{}: {tensor}", self.name);
        numbers[0]
    }

    /// A matrix that SAELens keeps as `[d, n]`, as `[n, d]`.
    pub fn feature_major(&self, tensor: &str) -> Vec<f64> {
        let [d, n] = self.dims(tensor)[..] else {
            panic!("{}: {tensor} is not a matrix", self.name);
        };
        let matrix = self.f64s(tensor);
        (0..n * d).map(|i| matrix[i % d * n + i / d]).collect()
    }

    /// The names of the tensors whose names begin so.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.tensors().names().into_iter().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// Parameters as SAELens lays them out.
    pub fn saelens_parameters(&self, config: &SaeConfig, prefix: &str) -> Parameters {
        Parameters::new(config, |tensor| {
            let name = format!("{prefix}{}", tensor.name);
            if tensor.role == Role::Encoder { self.feature_major(&name) } else { self.f64s(&name) }
        })
    }

    /// Parameters as dictionary_learning's cases lay them out: both matrices feature-major.
    pub fn dictionary_learning_parameters(&self, config: &SaeConfig, prefix: &str, b_dec: &str) -> Parameters {
        Parameters::new(config, |tensor| match tensor.role {
            Role::OutputBias => self.f64s(b_dec),
            _ => self.f64s(&format!("{prefix}{}", tensor.name)),
        })
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }
}

fn numbers<const N: usize>(data: &[u8], decode: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|bytes| decode(bytes.try_into().unwrap())).collect()
}

/// A number of a case's configuration.
pub fn number(config: &Value, name: &str) -> f64 {
    config[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {config}"))
}

/// A flag of a case's configuration.
pub fn flag(config: &Value, name: &str) -> bool {
    config[name].as_bool().unwrap_or_else(|| panic!("no flag {name} in {config}"))
}

/// The batch of each step, `[rows, d]`.
pub fn batches(vectors: &Vectors) -> Vec<Vec<f64>> {
    let [_, rows, d] = vectors.dims("x")[..] else {
        panic!("{}: x is not [steps, rows, d]", vectors.name);
    };
    let x = vectors.f64s("x");
    x.chunks_exact(rows * d).map(<[f64]>::to_vec).collect()
}

/// The reported activations of a list, `[rows, n]`.
pub fn dense(list: &List, n: usize) -> Vec<f64> {
    let mut dense = vec![0.0; list.len() * n];
    for (entries, row) in list.iter().zip(dense.chunks_exact_mut(n)) {
        for entry in entries {
            row[entry.feature] = entry.reported();
        }
    }
    dense
}

/// SAELens's name of a loss.
pub fn saelens_loss(name: &str) -> String {
    match name.strip_prefix("inner_mse_") {
        Some(width) => format!("inner_mse_loss_{width}"),
        None if name == "auxk" || name == "gate" => "auxiliary_reconstruction_loss".into(),
        None if name.ends_with("_loss") => name.into(),
        None => format!("{name}_loss"),
    }
}

/// The losses of a pass by SAELens's names.
pub fn losses(config: &SaeConfig, pass: &Forward) -> Vec<(String, f64)> {
    let description = config.describe();
    let fields =
        description.fields.iter().zip(&pass.fields).map(|(field, found)| (saelens_loss(&field.name), found.loss));
    let penalty = description.lists[0].entry.penalty().map(|name| (name.to_owned(), pass.penalty));
    let closed_form = description.closed_form.map(|_| ("pre_act_loss".into(), pass.closed_form));
    fields.chain(penalty).chain(closed_form).collect()
}

/// The SAE of one of SAELens's training cases, with its AuxK where the case has dead features.
pub fn saelens_config(vectors: &Vectors) -> SaeConfig {
    let config = &vectors.case["config"];
    let [_, _, d_in] = vectors.dims("x")[..] else { panic!("{}: x is not [steps, rows, d]", vectors.name) };
    let features = vectors.dims("dead_mask")[0];
    SaeConfig {
        apply_b_dec_to_input: flag(config, "apply_b_dec_to_input"),
        input_normalization: match config["normalize_activations"].as_str() {
            Some("layer_norm") => InputNormalization::LayerNorm,
            _ => InputNormalization::None,
        },
        ..SaeConfig::new(d_in, features, saelens_architecture(vectors))
    }
}

fn saelens_architecture(vectors: &Vectors) -> Architecture {
    let config = &vectors.case["config"];
    let has_dead = vectors.f64s("dead_mask").contains(&1.0);
    let auxk = || {
        let coefficient = has_dead.then(|| number(config, "aux_loss_coefficient"));
        coefficient.map(|coefficient| AuxK { form: AuxKForm::SaeLens, coefficient, most: None })
    };
    let k = || number(config, "k") as usize;
    let rescale = || flag(config, "rescale_acts_by_decoder_norm");
    let coefficient = |name: &str| number(&vectors.case["coefficients"], name);
    match config["architecture"].as_str() {
        Some("topk") => TopK { k: k(), rescale_acts_by_decoder_norm: rescale(), auxk: auxk() }.into(),
        Some("batchtopk") => BatchTopK { k: k(), rescale_acts_by_decoder_norm: rescale(), auxk: auxk() }.into(),
        Some("matryoshka_batchtopk") => {
            let widths = config["matryoshka_widths"].as_array().unwrap().iter();
            Matryoshka {
                k: k(),
                widths: widths.map(|width| width.as_u64().unwrap() as usize).collect(),
                weights: None,
                rescale_acts_by_decoder_norm: rescale(),
                auxk: auxk(),
            }
            .into()
        }
        Some("standard") => Relu { l1: coefficient("l1"), normed: true, capacity: None }.into(),
        Some("gated") => Gated { l1: coefficient("l1"), normed: true, detached: false, capacity: None }.into(),
        Some("jumprelu") => JumpRelu {
            penalty: match config["jumprelu_sparsity_loss_mode"].as_str() {
                Some("step") => Penalty::Step,
                Some("quadratic") => Penalty::Quadratic { target: number(config, "target_l0") },
                Some("tanh") => Penalty::Tanh { scale: number(config, "jumprelu_tanh_scale") },
                other => panic!("{}: a penalty {other:?}", vectors.name),
            },
            l0: coefficient("l0"),
            bandwidth: number(config, "jumprelu_bandwidth"),
            straight_through_to_input: flag(config, "jumprelu_ste_to_input"),
            log_threshold: false,
            pre_activation: config["pre_act_loss_coefficient"]
                .as_f64()
                .map(|coefficient| PreActivation { coefficient, of: Features::Dead }),
            capacity: None,
        }
        .into(),
        other => panic!("{}: an architecture {other:?}", vectors.name),
    }
}

/// The SAE of one of dictionary_learning's training cases.
pub fn dictionary_learning_config(vectors: &Vectors) -> SaeConfig {
    let [n, d] = vectors.dims("init.W_enc")[..] else { panic!("{}: W_enc is not a matrix", vectors.name) };
    SaeConfig::top_k(d, n, number(&vectors.case["config"], "k") as usize)
}

/// Steps of silence after which a feature is dead, more than a case has.
pub const DEAD_WINDOW: i64 = 10;

/// When features last fired if those of a mask, and no others, are dead in every step of a case.
pub fn last_fired(dead_mask: &[f64]) -> Vec<i64> {
    dead_mask.iter().map(|&dead| if dead == 0.0 { 0 } else { -DEAD_WINDOW }).collect()
}

/// Compares tensors, and keeps count of how far they were apart.
pub struct Worst {
    tolerance: f64,
    deviation: f64,
    tensors: usize,
}

impl Worst {
    /// `tolerance` is the largest difference from a tensor, of its largest magnitude.
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, deviation: 0.0, tensors: 0 }
    }

    pub fn compare(&mut self, name: &str, actual: &[f64], expected: &[f64]) {
        self.compare_within(self.tolerance, name, actual, expected);
    }

    pub fn compare_within(&mut self, tolerance: f64, name: &str, actual: &[f64], expected: &[f64]) {
        assert_eq!(actual.len(), expected.len(), "{name}");
        let magnitude = expected.iter().fold(0.0, |max: f64, e| max.max(e.abs()));
        for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
            let difference = (actual - expected).abs();
            assert!(difference <= tolerance * magnitude, "{name}[{i}]: {actual}, not {expected}");
            if magnitude > 0.0 {
                self.deviation = self.deviation.max(difference / magnitude);
            }
        }
        self.tensors += 1;
    }

    pub fn compare_each(&mut self, name: &str, actual: &Parameters, expected: &Parameters) {
        for ((tensor, actual), (_, expected)) in actual.each().zip(expected.each()) {
            self.compare(&format!("{name}.{}", tensor.name), actual, expected);
        }
    }

    pub fn report(&self, name: &str) {
        println!("{name}: {} tensors, largest deviation {:.1e}", self.tensors, self.deviation);
    }
}
