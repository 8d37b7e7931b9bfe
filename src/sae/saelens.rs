//! SAELens's inference layout: a directory with `cfg.json` and `sae_weights.safetensors` (as SAELens 6.54.12 writes it).

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Sae, SaeConfig};
use crate::data::Provenance;
use crate::data::safetensors::TensorFile;
use crate::error::{Error, Result};
use crate::staging::Staging;

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
const VERSION: &str = "6.54.12";

/// More than any configuration needs, and little enough to read from any file.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Rows of `W_enc`, which is stored transposed, that are turned at a time: 64 bytes a feature.
const STRIPE: usize = 16;

/// Values written at a time.
const CHUNK: usize = 1 << 18;

/// What is read of `cfg.json`, with SAELens's defaults.
#[derive(Deserialize)]
struct Config {
    architecture: Option<String>,
    d_in: usize,
    d_sae: usize,
    k: Option<usize>,
    #[serde(default)]
    rescale_acts_by_decoder_norm: bool,
    #[serde(default = "enabled")]
    apply_b_dec_to_input: bool,
    normalize_activations: Option<String>,
    reshape_activations: Option<String>,
    #[serde(default)]
    metadata: Value,
}

fn enabled() -> bool {
    true
}

/// Saves `sae` as the new directory `dir`, all of it or nothing: it appears under its name only when it is on the disk.
///
/// # Errors
/// [`Error::Config`] when `dir` exists, or the sizes and weights of `sae` do not make an SAE that [`load`] would take;
/// [`Error::Io`]. Nothing is left behind.
pub fn save(sae: &Sae, dir: &Path) -> Result<()> {
    check(sae)?;
    let staging = Staging::new(dir)?;
    write_file(&staging.path().join(CONFIG), |file| {
        serde_json::to_writer_pretty(&mut *file, &config_json(sae))?;
        file.write_all(b"\n")
    })?;
    write_file(&staging.path().join(WEIGHTS), |file| write_weights(sae, file))?;
    staging.commit(dir)
}

/// Loads the TopK SAE in `dir`, or in `dir/sae` when `dir` is a run directory.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Data`] when it is damaged, incomplete, not finite, or needs something
/// that is not supported: the message names it.
pub fn load(dir: &Path) -> Result<Sae> {
    fs::metadata(dir).map_err(Error::io(dir))?;
    let found = [dir.to_owned(), dir.join("sae")].into_iter().find(|dir| dir.join(CONFIG).is_file());
    let Some(dir) = found else {
        let problem = format!("has no {CONFIG}, here or in sae/; give the directory of an SAE or of a run");
        return Err(Error::data(dir, problem));
    };
    let (config, provenance) = read_config(&dir.join(CONFIG))?;
    let SaeConfig { d_in, features, .. } = config;
    let weights = Weights::open(&dir.join(WEIGHTS), &config)?;
    Ok(Sae {
        w_enc: weights.transposed("W_enc", features, d_in)?,
        b_enc: weights.read("b_enc")?,
        w_dec: weights.read("W_dec")?,
        b_dec: weights.read("b_dec")?,
        config,
        provenance,
    })
}

/// Names and stored shapes of the tensors, in the order that SAELens writes them.
fn layout(config: &SaeConfig) -> [(&'static str, Vec<usize>); 4] {
    let SaeConfig { d_in, features, .. } = *config;
    [("W_dec", vec![features, d_in]), ("W_enc", vec![d_in, features]), ("b_dec", vec![d_in]), ("b_enc", vec![features])]
}

fn check(sae: &Sae) -> Result<()> {
    sae.config.validate()?;
    let fields = [&sae.w_dec, &sae.w_enc, &sae.b_dec, &sae.b_enc];
    for ((name, shape), values) in layout(&sae.config).iter().zip(fields) {
        if shape.iter().try_fold(1_usize, |size, &n| size.checked_mul(n)) != Some(values.len()) {
            let problem =
                format!("{name} has {} values, not the {shape:?} that its configuration asks for", values.len());
            return Err(Error::Config(problem));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::Config(format!("{name} holds {} (value {at}): nothing was saved", values[at])));
        }
    }
    Ok(())
}

fn config_json(sae: &Sae) -> Value {
    let provenance = &sae.provenance;
    let mut metadata = json!({
        "sae_lens_version": VERSION,
        "model_name": provenance.model_name,
        "hook_name": provenance.hook_name,
        "context_size": provenance.context_size,
        "dataset_path": provenance.dataset_path,
    });
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    json!({
        "architecture": "topk",
        "d_in": sae.config.d_in,
        "d_sae": sae.config.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.config.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "k": sae.config.k,
        "rescale_acts_by_decoder_norm": sae.config.rescale_acts_by_decoder_norm,
        "metadata": metadata,
    })
}

fn write_weights(sae: &Sae, file: &mut File) -> std::io::Result<()> {
    let SaeConfig { d_in, features, .. } = sae.config;
    let mut end = 0;
    let tensors = layout(&sae.config).map(|(name, shape)| {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        (name.to_owned(), TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
    });
    let header = Metadata::new(None, tensors.into()).map_err(std::io::Error::other)?;
    let mut json = serde_json::to_vec(&header)?;
    json.resize(json.len().next_multiple_of(8), b' ');
    file.write_all(&(json.len() as u64).to_le_bytes())?;
    file.write_all(&json)?;

    write_floats(&sae.w_dec, file)?;
    let mut stripe = Vec::new();
    for first in (0..d_in).step_by(STRIPE) {
        let count = STRIPE.min(d_in - first);
        stripe.resize(count * features, 0.0);
        for (feature, weights) in sae.w_enc.chunks_exact(d_in).enumerate() {
            for (row, &weight) in weights[first..first + count].iter().enumerate() {
                stripe[row * features + feature] = weight;
            }
        }
        write_floats(&stripe, file)?;
    }
    write_floats(&sae.b_dec, file)?;
    write_floats(&sae.b_enc, file)
}

fn write_floats(values: &[f32], file: &mut File) -> std::io::Result<()> {
    values.chunks(CHUNK).try_for_each(|chunk| file.write_all(bytemuck::cast_slice(chunk)))
}

fn read_config(path: &Path) -> Result<(SaeConfig, Provenance)> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut text = Vec::new();
    file.take(MAX_CONFIG_BYTES).read_to_end(&mut text).map_err(Error::io(path))?;
    let config: Config = serde_json::from_slice(&text).map_err(|error| {
        let error = error.to_string().escape_debug().to_string();
        Error::data(path, format!("{error}; export the SAE from SAELens again"))
    })?;
    match config.architecture.as_deref() {
        Some("topk") => {}
        Some(other) => {
            let problem = format!("architecture {other:?} cannot be read yet, only \"topk\"; give a TopK SAE");
            return Err(Error::data(path, problem));
        }
        None => {
            return Err(Error::data(path, "has no architecture; add \"architecture\": \"topk\" if it is one"));
        }
    }
    for (name, value) in
        [("normalize_activations", &config.normalize_activations), ("reshape_activations", &config.reshape_activations)]
    {
        if let Some(value) = value.as_deref().filter(|&value| value != "none") {
            let problem = format!("{name} is {value:?}; only \"none\" can be read: fold it into the weights first");
            return Err(Error::data(path, problem));
        }
    }
    let k = config.k.ok_or_else(|| Error::data(path, "has no k; add the number of features active at a time"))?;
    let text = |key| config.metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    let context_size = config.metadata.get("context_size").and_then(Value::as_u64);
    let provenance = Provenance {
        model_name: text("model_name"),
        hook_name: text("hook_name"),
        context_size: context_size.and_then(|size| size.try_into().ok()),
        dataset_path: text("dataset_path"),
    };
    let config = SaeConfig {
        d_in: config.d_in,
        features: config.d_sae,
        k,
        rescale_acts_by_decoder_norm: config.rescale_acts_by_decoder_norm,
        apply_b_dec_to_input: config.apply_b_dec_to_input,
    };
    config.validate().map_err(|error| Error::data(path, error.to_string()))?;
    Ok((config, provenance))
}

/// A weights file whose tensors have the names and shapes that the configuration asks for.
struct Weights(TensorFile);

impl Weights {
    fn open(path: &Path, config: &SaeConfig) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let layout = layout(config);
        for (name, expected) in &layout {
            let tensor = file.floats(name)?;
            if tensor.shape() != expected {
                let problem = format!(
                    "tensor `{name}` has shape {:?} where {CONFIG} makes it {expected:?}; correct whichever is wrong",
                    tensor.shape()
                );
                return Err(Error::data(path, problem));
            }
        }
        match file.names().iter().find(|name| layout.iter().all(|(known, _)| known != name)) {
            Some(extra) => {
                let problem = format!("tensor {extra:?} does not belong to a TopK SAE; remove it, or correct {CONFIG}");
                Err(Error::data(path, problem))
            }
            None => Ok(Self(file)),
        }
    }

    fn zeros(&self, len: usize) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| {
            Error::data(self.0.path(), format!("needs more memory than there is ({len} values); use a larger machine"))
        })?;
        values.resize(len, 0.0);
        Ok(values)
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.0.floats(name)?;
        let mut values = self.zeros(tensor.shape().iter().product())?;
        self.0.read(&tensor, 0, &mut values)?;
        Ok(values)
    }

    /// `[rows, columns]` from `[columns, rows]` as stored.
    fn transposed(&self, name: &str, rows: usize, columns: usize) -> Result<Vec<f32>> {
        let tensor = self.0.floats(name)?;
        let mut values = self.zeros(rows * columns)?;
        let mut stripe = self.zeros(rows * STRIPE.min(columns))?;
        for first in (0..columns).step_by(STRIPE) {
            let count = STRIPE.min(columns - first);
            let stripe = &mut stripe[..rows * count];
            self.0.read(&tensor, (first * rows) as u64, stripe)?;
            for (row, values) in values.chunks_exact_mut(columns).enumerate() {
                for (column, value) in values[first..first + count].iter_mut().enumerate() {
                    *value = stripe[column * rows + row];
                }
            }
        }
        Ok(values)
    }
}

fn write_file(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    File::create_new(path).and_then(|mut file| write(&mut file).and_then(|()| file.sync_all())).map_err(Error::io(path))
}

#[cfg(test)]
mod tests;
