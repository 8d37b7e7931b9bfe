//! The golden vectors: what SAELens and dictionary_learning computed in f64 (see tests/vectors).

use std::{
    fs,
    path::{Path, PathBuf},
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

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }
}

fn numbers<const N: usize>(data: &[u8], decode: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|bytes| decode(bytes.try_into().unwrap())).collect()
}
