//! A set, exported and read back.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::program::cli::{fail, succeed};
use crate::program::report::write_set;

/// A set of features, and room for its export.
pub struct Set {
    pub directory: tempfile::TempDir,
}

impl Set {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_set(&directory.path().join("set"));
        Self { directory }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn command(&self, more: &[&str]) -> Vec<String> {
        let (set, out) = (self.path("set"), self.path("out"));
        let named = ["neuronpedia", "--features", &set, "--out", &out, "--source-set", "res-200", "--creator-id", "c1"];
        named
            .into_iter()
            .chain(["--creator-name", "An author"])
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    /// Exports the set, whose model has no name that could be used.
    pub fn export(&self) -> (Value, PathBuf) {
        let command = self.command(&["--model-id", "tiny", "--json"]);
        let said = succeed(&command.iter().map(String::as_str).collect::<Vec<_>>());
        (serde_json::from_str(&said).unwrap(), PathBuf::from(self.path("out/tiny/1-res-200")))
    }

    pub fn refuse(&self, more: &[&str], code: i32, words: &str) {
        let before = fs::read_dir(self.directory.path()).unwrap().count();
        let command = self.command(more);
        fail(&command.iter().map(String::as_str).collect::<Vec<_>>(), code, words);
        assert_eq!(fs::read_dir(self.directory.path()).unwrap().count(), before, "{words}");
    }

    /// Changes a file of the set.
    pub fn change(&self, name: &str, change: impl Fn(&str) -> String) {
        let path = Path::new(&self.path("set")).join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert_ne!(change(&text), text, "{name}");
        fs::write(path, change(&text)).unwrap();
    }

    /// Lines of a file of the set.
    pub fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(Path::new(&self.path("set")).join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A tensor's rows.
    pub fn rows<T: bytemuck::Pod>(&self, file: &str, name: &str) -> Vec<Vec<T>> {
        let bytes = fs::read(Path::new(&self.path("set")).join(file)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let width = tensor.shape().get(1).copied().unwrap_or(1);
        bytemuck::pod_collect_to_vec(tensor.data()).chunks(width).map(<[T]>::to_vec).collect()
    }
}

/// The lines of a gzipped file, as the importer reads them: NULs by their escape are replaced by spaces before.
pub fn imported(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    assert!(text.ends_with('\n'));
    let text = text.replace("\\u0000", " ");
    text.trim().split('\n').map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The files below a directory.
pub fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .flat_map(|entry| {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name().into_string().unwrap())).unwrap();
            if path.is_dir() { files(&path).iter().map(|file| format!("{name}/{file}")).collect() } else { vec![name] }
        })
        .collect();
    names.sort();
    names
}
