//! SAELens's inference layout: a directory with `cfg.json` and `sae_weights.safetensors` (as SAELens 6.54.12 writes
//! it).

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::description::{Role, Shape, TensorSpec};
use super::{Architecture, Sae, SaeConfig, TopK, Weights, for_each_tile};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::storage::staging::Staging;
use crate::storage::tensor_file::TensorFile;
use crate::storage::{Dtype, TensorWriter, replace_file};

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
const VERSION: &str = "6.54.12";

/// More than any configuration needs, and little enough to read from any file.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Columns of `W_enc`, which is stored transposed, that are turned at a time: a cache line of each row.
const STRIPE: usize = 16;

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

/// Saves an SAE as the new directory `dir`, all of it or nothing: it appears under its name only when it is on the
/// disk.
///
/// # Errors
/// [`Error::Exists`] when `dir` exists, [`Error::Config`] when the sizes and weights do not make an SAE that [`load`]
/// would take; [`Error::Io`]; those of the weights. Nothing is left behind.
pub fn save(weights: &dyn Weights, dir: &Path) -> Result<()> {
    weights.config().validate()?;
    NewDirectory::create(dir)?.save(weights)
}

/// A directory that will hold an SAE: begun before the work, so that a path that cannot be written fails early.
pub struct NewDirectory {
    staging: Staging,
    dir: PathBuf,
}

impl NewDirectory {
    /// Begins the new directory `dir`, which does not have its name until an SAE is saved.
    ///
    /// # Errors
    /// [`Error::Exists`] when `dir` exists, [`Error::Io`] when its parent cannot be written.
    pub fn create(dir: &Path) -> Result<Self> {
        Ok(Self { staging: Staging::new(dir)?, dir: dir.to_owned() })
    }

    /// As [`save`].
    ///
    /// # Errors
    /// As [`save`].
    pub fn save(self, weights: &dyn Weights) -> Result<()> {
        weights.config().validate()?;
        let path = self.staging.path();
        replace_file(&path.join(CONFIG), format!("{:#}\n", config_json(weights)?).as_bytes())?;
        write_weights(weights, &path.join(WEIGHTS))?;
        self.staging.commit(&self.dir)
    }
}

/// Loads the TopK SAE in `dir`, or in `dir/sae` when `dir` is a run directory.
///
/// # Errors
/// As [`open`], and [`Error::Data`] when a weight is not finite.
pub fn load(dir: &Path) -> Result<Sae> {
    Sae::read(&open(dir)?)
}

/// Opens the TopK SAE in `dir`, or in `dir/sae` when `dir` is a run directory, and checks all but its values, which are
/// checked as they are read.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Data`] when it is damaged, incomplete, or needs something that is not
/// supported: the message names it.
pub fn open(dir: &Path) -> Result<SaeFile> {
    fs::metadata(dir).map_err(Error::io(dir))?;
    let Some(dir) = find(dir) else {
        let problem = format!("has no {CONFIG}, here or in sae/; give the directory of an SAE or of a run");
        return Err(Error::data(dir, problem));
    };
    let (config, provenance) = read_config(&dir.join(CONFIG))?;
    let file = TensorFile::open(&dir.join(WEIGHTS))?;
    check_tensors(&file, &config)?;
    Ok(SaeFile { config, provenance, file })
}

/// `dir`, or `dir/sae`, if there is an SAE in it.
fn find(dir: &Path) -> Option<PathBuf> {
    [dir.to_owned(), dir.join("sae")].into_iter().find(|dir| dir.join(CONFIG).is_file())
}

/// The file that holds the weights of the SAE that [`open`] finds at `dir`, if it finds one.
pub fn weights_file(dir: &Path) -> Option<PathBuf> {
    find(dir).map(|dir| dir.join(WEIGHTS))
}

/// An SAE in its files.
pub struct SaeFile {
    config: SaeConfig,
    provenance: Provenance,
    file: TensorFile,
}

impl Weights for SaeFile {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        let stored = self.file.floats(tensor.name)?;
        let [features, columns] = tensor.shape(&self.config);
        if tensor.role != Role::Encoder {
            return self.file.read(&stored, (first * columns) as u64, values);
        }
        let count = values.len() / columns;
        let mut stripe = vec![0.0; count * STRIPE.min(columns)];
        for start in (0..columns).step_by(STRIPE) {
            let width = STRIPE.min(columns - start);
            for (column, stripe) in (start..start + width).zip(stripe.chunks_exact_mut(count)) {
                self.file.read(&stored, (column * features + first) as u64, stripe)?;
            }
            for (feature, row) in values.chunks_exact_mut(columns).enumerate() {
                for (column, value) in row[start..start + width].iter_mut().enumerate() {
                    *value = stripe[column * count + feature];
                }
            }
        }
        Ok(())
    }
}

/// The tensors and their stored shapes, in the order that SAELens writes them: by name, capitals first.
fn layout(config: &SaeConfig) -> Vec<(TensorSpec, Vec<usize>)> {
    let stored = |tensor: TensorSpec| {
        let [rows, columns] = tensor.shape(config);
        let shape = match (tensor.shape, tensor.role) {
            (Shape::FeatureRows, Role::Encoder) => vec![columns, rows],
            (Shape::FeatureRows, _) => vec![rows, columns],
            (Shape::FeatureScalars, _) => vec![rows],
            (Shape::ModelRow, _) => vec![columns],
        };
        (tensor, shape)
    };
    let mut layout: Vec<_> = config.tensors().into_iter().map(stored).collect();
    layout.sort_by_key(|(tensor, _)| tensor.name);
    layout
}

fn config_json(weights: &dyn Weights) -> Result<Value> {
    let (config, provenance) = (weights.config(), weights.provenance());
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
    let Architecture::TopK(topk) = &config.architecture else {
        return Err(Error::Config("this architecture cannot be saved yet: take a TopK SAE".into()));
    };
    Ok(json!({
        "architecture": "topk",
        "d_in": config.d_in,
        "d_sae": config.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "k": topk.k,
        "rescale_acts_by_decoder_norm": topk.rescale_acts_by_decoder_norm,
        "metadata": metadata,
    }))
}

/// Writes the tensors tile by tile, each of finite values.
fn write_weights(weights: &dyn Weights, path: &Path) -> Result<()> {
    let layout = layout(weights.config());
    let tensors: Vec<_> = layout.iter().map(|(tensor, shape)| (tensor.name, Dtype::F32, &shape[..])).collect();
    let mut file = TensorWriter::create(path, &tensors)?;
    for (at, (tensor, _)) in layout.iter().enumerate() {
        let [rows, columns] = tensor.shape(weights.config());
        for_each_tile(weights, tensor, |first, values| {
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let (name, row) = (tensor.name, first + at / columns);
                return Err(Error::Config(format!("{name} holds {} (row {row}): nothing was saved", values[at])));
            }
            match tensor.role {
                Role::Encoder => write_transposed(&mut file, at, rows, first, values, columns),
                _ => file.write(at, (4 * first * columns) as u64, bytemuck::cast_slice(values)),
            }
        })?;
    }
    file.finish()
}

/// Writes rows `first..` of a matrix of `rows` rows into the columns of a tensor of the file.
fn write_transposed(
    file: &mut TensorWriter,
    tensor: usize,
    rows: usize,
    first: usize,
    values: &[f32],
    columns: usize,
) -> Result<()> {
    let count = values.len() / columns;
    let mut stripe = vec![0.0; count * STRIPE.min(columns)];
    for column in (0..columns).step_by(STRIPE) {
        let width = STRIPE.min(columns - column);
        for (row, values) in values.chunks_exact(columns).enumerate() {
            for (at, &value) in values[column..column + width].iter().enumerate() {
                stripe[at * count + row] = value;
            }
        }
        for (column, stripe) in (column..column + width).zip(stripe.chunks_exact(count)) {
            file.write(tensor, (4 * (column * rows + first)) as u64, bytemuck::cast_slice(stripe))?;
        }
    }
    Ok(())
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
        apply_b_dec_to_input: config.apply_b_dec_to_input,
        architecture: TopK { k, rescale_acts_by_decoder_norm: config.rescale_acts_by_decoder_norm, auxk: None }.into(),
    };
    config.validate().map_err(|error| Error::data(path, error.to_string()))?;
    Ok((config, provenance))
}

/// Checks that a weights file has the tensors that the configuration asks for, and no other.
fn check_tensors(file: &TensorFile, config: &SaeConfig) -> Result<()> {
    let layout = layout(config);
    for (TensorSpec { name, .. }, expected) in &layout {
        let tensor = file.floats(name)?;
        if tensor.shape() != expected {
            let problem = format!(
                "tensor `{name}` has shape {:?} where {CONFIG} makes it {expected:?}; correct whichever is wrong",
                tensor.shape()
            );
            return Err(Error::data(file.path(), problem));
        }
    }
    match file.names().iter().find(|name| layout.iter().all(|(known, _)| known.name != **name)) {
        Some(extra) => {
            let problem = format!("tensor {extra:?} does not belong to a TopK SAE; remove it, or correct {CONFIG}");
            Err(Error::data(file.path(), problem))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
