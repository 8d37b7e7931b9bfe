//! Where a result is from, as a line of JSON says it: program, SAE, data and device.

use std::path::Path;

use monosem::data::Activations;
use monosem::gpu::Gpu;
use monosem::run::OpenedSae;
use monosem::storage::checksum_file;
use monosem::{Result, sae};
use serde_json::{Map, Value, json};

/// Fields, by their names.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Which SAE it was.
pub struct SaeOrigin {
    path: String,
    /// The checkpoint that it is from, and the steps taken before.
    checkpoint: Option<(String, u64)>,
    /// XXH3 of the file of its weights, as run.json has it; none for a checkpoint.
    pub checksum: Option<String>,
}

impl SaeOrigin {
    /// Reads the file of the weights once, unless they are a checkpoint's.
    pub fn of(path: &Path, opened: &OpenedSae) -> Result<Self> {
        let checkpoint = opened.checkpoint.as_ref();
        let weights = if checkpoint.is_none() { sae::weights_file(path) } else { None };
        Ok(Self {
            path: path.to_string_lossy().into_owned(),
            checkpoint: checkpoint.map(|from| (from.path.to_string_lossy().into_owned(), from.step)),
            checksum: weights.map(|file| checksum_file(&file)).transpose()?,
        })
    }

    /// The step of its checkpoint.
    pub fn step(&self) -> Option<u64> {
        self.checkpoint.as_ref().map(|(_, step)| *step)
    }

    /// As an object.
    pub fn json(&self) -> Value {
        json!({
            "path": self.path,
            "checkpoint": self.checkpoint.as_ref().map(|(path, _)| path),
            "step": self.step(),
            "checksum": self.checksum,
        })
    }
}

/// Which files the rows are in.
pub fn data_json(data: &Activations) -> Value {
    data.row_counts().map(|(path, rows)| json!({ "path": path.to_string_lossy(), "rows": rows })).collect()
}

/// Which device it was.
pub fn device_fields(gpu: &Gpu) -> Map<String, Value> {
    let adapter = gpu.description();
    object([("device", json!(adapter.name)), ("driver", json!(adapter.driver)), ("backend", json!(adapter.backend))])
}
