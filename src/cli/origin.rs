//! Where a result is from, as a line of JSON says it: program, SAE, data and device.

use std::collections::BTreeMap;
use std::path::Path;

use monosem::data::Activations;
use monosem::gpu::Gpu;
use monosem::run::OpenedSae;
use monosem::sae::Weights;
use monosem::storage::checksum_file;
use monosem::{Result, sae};
use serde_json::{Map, Value, json};

use super::codes_file::architecture;

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

/// What a safetensors file says of the SAE that it is about.
pub fn sae_metadata(weights: &dyn Weights, origin: &SaeOrigin) -> BTreeMap<&'static str, String> {
    let (config, provenance) = (weights.config(), weights.provenance());
    let known = [
        ("monosem_version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("architecture", Some(architecture(config))),
        ("d_in", Some(config.d_in.to_string())),
        ("d_sae", Some(config.features.to_string())),
        ("model_name", provenance.model_name.clone()),
        ("hook_name", provenance.hook_name.clone()),
        ("sae_checksum", origin.checksum.clone()),
        ("sae_step", origin.step().map(|step| step.to_string())),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
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
