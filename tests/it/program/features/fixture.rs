//! Made rows in sequences, an SAE of whole numbers, and sets of features as they are read back.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use monosem::data::Provenance;
use monosem::rng::{Purpose, Rng};
use monosem::sae::{self, Architecture, JumpRelu, Relu, Sae, SaeConfig};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

pub const D: usize = 6;
pub const N: usize = 24;

/// Integers in [-2, 2].
pub fn integers(seed: u64, count: usize) -> Vec<f32> {
    let rng = Rng::new(seed, Purpose::Weights);
    (0..count as u64).map(|at| (rng.block(at, 0)[0] % 5) as f32 - 2.0).collect()
}

/// An SAE whose codes are small whole numbers, which f32 holds exactly.
pub fn whole_sae(architecture: Architecture) -> Sae {
    let config = SaeConfig { architecture, ..SaeConfig::top_k(D, N, 1) };
    let value = |name: &str| match name {
        "W_enc" => integers(1, N * D),
        "b_enc" => integers(2, N),
        "W_dec" => integers(3, N * D),
        "threshold" => integers(4, N).into_iter().map(f32::abs).collect(),
        _ => vec![0.0; D],
    };
    let tensors = config.tensors().iter().map(|tensor| value(tensor.name)).collect();
    Sae { config, tensors, provenance: Provenance::default() }
}

pub fn relu() -> Architecture {
    Relu { l1: 1.0, normed: true, capacity: None }.into()
}

pub fn jump_relu() -> Architecture {
    JumpRelu::inference().into()
}

pub fn save(sae: &Sae, directory: &Path) -> String {
    sae::save(sae, directory).unwrap();
    directory.to_str().unwrap().to_owned()
}

/// The codes of rows by comparing every key, `[rows][N]`.
pub fn dense_codes(sae: &Sae, x: &[f32]) -> Vec<Vec<f32>> {
    let (w_enc, b_enc) = (sae.tensor("W_enc"), sae.tensor("b_enc"));
    let threshold = match &sae.config.architecture {
        Architecture::JumpRelu(_) => sae.tensor("threshold").to_vec(),
        _ => vec![0.0; N],
    };
    let code = |row: &[f32], feature: usize| {
        let w = &w_enc[feature * D..][..D];
        let u = w.iter().zip(row).map(|(w, x)| w * x).sum::<f32>() + b_enc[feature];
        if u > threshold[feature] { u } else { 0.0 }
    };
    x.chunks_exact(D).map(|row| (0..N).map(|feature| code(row, feature)).collect()).collect()
}

/// Rows with all that may stand beside them.
#[derive(Clone, Default)]
pub struct Rows {
    pub values: Vec<f32>,
    pub tokens: Vec<i32>,
    pub sources: Vec<u8>,
    pub sequences: Vec<u32>,
    pub positions: Vec<u32>,
}

impl Rows {
    /// Rows of whole numbers: sequences of 1 to 12 tokens, of which position 0 and one row in 17 are left out.
    pub fn made(count: usize) -> Self {
        let rng = Rng::new(9, Purpose::Shuffle);
        let (mut rows, mut sequence) = (Self::default(), 0);
        while rows.len() < count {
            for position in 1..1 + rng.block(sequence.into(), 0)[0] % 12 {
                let random = rng.block(sequence.into(), position);
                if random[0].is_multiple_of(17) {
                    continue;
                }
                rows.tokens.push((random[1] % 50) as i32);
                rows.sources.push((sequence % 3) as u8);
                rows.sequences.push(sequence);
                rows.positions.push(position);
            }
            sequence += 1;
        }
        rows.values = integers(5, rows.len() * D);
        rows
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Some of the rows, by number.
    pub fn select(&self, keep: impl Iterator<Item = usize>) -> Self {
        let mut kept = Self::default();
        for row in keep {
            kept.values.extend(&self.values[row * D..][..D]);
            kept.tokens.push(self.tokens[row]);
            kept.sources.push(self.sources[row]);
            kept.sequences.push(self.sequences[row]);
            kept.positions.push(self.positions[row]);
        }
        kept
    }

    /// Writes the rows with the columns of these names.
    pub fn write(&self, path: PathBuf, columns: &[&str]) -> String {
        let count = self.len();
        let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).unwrap();
        let mut tensors = vec![("activations", view(Dtype::F32, vec![count, D], bytemuck::cast_slice(&self.values)))];
        for &name in columns {
            let (dtype, bytes): (_, &[u8]) = match name {
                "token_ids" => (Dtype::I32, bytemuck::cast_slice(&self.tokens)),
                "source" => (Dtype::U8, &self.sources),
                "sequence" => (Dtype::U32, bytemuck::cast_slice(&self.sequences)),
                "position" => (Dtype::U32, bytemuck::cast_slice(&self.positions)),
                other => panic!("no column {other}"),
            };
            tensors.push((name, view(dtype, vec![count], bytes)));
        }
        let metadata = [("sources".to_owned(), "[\"books\", \"code\", \"web\"]".to_owned())].into();
        safetensors::serialize_to_file(tensors, Some(metadata), &path).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

pub const ALL: [&str; 4] = ["token_ids", "source", "sequence", "position"];

/// A set of features as it is on the disk.
pub struct Set {
    pub description: Value,
    pub lines: Vec<Value>,
    statistics: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Set {
    pub fn read(directory: &str) -> Self {
        let path = |name: &str| Path::new(directory).join(name);
        let description = serde_json::from_slice(&fs::read(path("features.json")).unwrap()).unwrap();
        let bytes = fs::read(path("statistics.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let statistics = tensors
            .iter()
            .map(|(name, tensor)| (name.to_owned(), (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec())));
        let lines = (0..).map(|file| path(&format!("examples-{file:05}.jsonl"))).take_while(|path| path.exists());
        let lines = lines.flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        });
        Self { description, lines: lines.collect(), statistics: statistics.collect() }
    }

    pub fn has(&self, name: &str) -> bool {
        self.statistics.contains_key(name)
    }

    fn tensor<T: bytemuck::Pod>(&self, name: &str, dtype: Dtype) -> (Vec<usize>, Vec<T>) {
        let (found, shape, bytes) = &self.statistics[name];
        assert_eq!(*found, dtype, "{name}");
        (shape.clone(), bytemuck::pod_collect_to_vec(bytes))
    }

    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.tensor(name, Dtype::I64).1
    }

    pub fn small_integers(&self, name: &str) -> Vec<i32> {
        self.tensor(name, Dtype::I32).1
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.tensor(name, Dtype::F32).1
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.statistics[name].1
    }
}
