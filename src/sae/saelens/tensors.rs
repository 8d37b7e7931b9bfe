//! `sae_weights.safetensors`: the tensors of the description by their names, `W_enc` transposed.

use std::path::Path;

use super::CONFIG;
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::sae::description::{Role, Shape, TensorSpec};
use crate::sae::{Architecture, SaeConfig, Weights, for_each_tile};
use crate::storage::header::printable;
use crate::storage::tensor_file::TensorFile;
use crate::storage::{Dtype, TensorWriter};

/// Columns of `W_enc`, which is stored transposed, that are turned at a time: a cache line of each row.
const STRIPE: usize = 16;

/// The threshold of an SAE as training with BatchTopK leaves it: one number in f64.
const TOPK_THRESHOLD: &str = "topk_threshold";

/// The thresholds of early JumpReLU SAEs.
pub(super) const LOG_THRESHOLD: &str = "log_threshold";

/// The tensors and their stored shapes, in the order that SAELens writes them: by name, capitals first.
pub(super) fn layout(config: &SaeConfig) -> Vec<(TensorSpec, Vec<usize>)> {
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

/// The name that a tensor has in the file.
fn stored_name(config: &SaeConfig, tensor: &TensorSpec) -> &'static str {
    match &config.architecture {
        Architecture::JumpRelu(jumprelu) if jumprelu.log_threshold && tensor.role == Role::Own(0) => LOG_THRESHOLD,
        _ => tensor.name,
    }
}

/// Writes the tensors tile by tile, each of finite values.
pub(super) fn write(weights: &dyn Weights, path: &Path) -> Result<()> {
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

/// The tensors of a file, as they are in it.
pub(super) struct StoredWeights {
    config: SaeConfig,
    provenance: Provenance,
    file: TensorFile,
    /// What rows were multiplied by before they came to the SAE: folded into what is read.
    scale: Option<f64>,
}

impl StoredWeights {
    /// Those of a file, which must have the tensors that the configuration asks for, and no other.
    pub(super) fn new(file: TensorFile, config: SaeConfig, provenance: Provenance, scale: Option<f64>) -> Result<Self> {
        check(&file, &config)?;
        Ok(Self { config, provenance, file, scale })
    }

    /// The threshold that training with BatchTopK arrived at.
    pub(super) fn threshold(&self) -> Result<f32> {
        let path = self.file.path();
        let number =
            self.file.place(TOPK_THRESHOLD).filter(|(dtype, shape, _)| *dtype == Dtype::F64 && shape.is_empty());
        let Some((_, _, place)) = number else {
            return Err(Error::data(
                path,
                format!("`{TOPK_THRESHOLD}` is no single number in F64; save the SAE again"),
            ));
        };
        let mut bytes = [0; 8];
        self.file.read_raw(TOPK_THRESHOLD, place.start, &mut bytes)?;
        let threshold = f64::from_le_bytes(bytes);
        if !((threshold as f32).is_finite() && threshold >= 0.0) {
            return Err(Error::data(path, format!("`{TOPK_THRESHOLD}` is {threshold}: it must be at least 0")));
        }
        // A key in the scale of decoder norms is divided by what these are divided by.
        let is_rescaled =
            matches!(&self.config.architecture, Architecture::BatchTopK(it) if it.rescale_acts_by_decoder_norm);
        Ok((threshold / self.scale.filter(|_| is_rescaled).unwrap_or(1.0)) as f32)
    }

    fn read_stored(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        let stored = self.file.floats(stored_name(&self.config, tensor))?;
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

impl Weights for StoredWeights {
    fn config(&self) -> &SaeConfig {
        &self.config
    }

    fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        self.read_stored(tensor, first, values)?;
        if tensor.non_negative {
            // SAELens rectifies a value before it compares it with its threshold.
            values.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        if let Some(scale) = self.scale {
            let factor = match tensor.role {
                Role::Encoder => scale,
                Role::Decoder | Role::OutputBias => 1.0 / scale,
                Role::EncoderBias | Role::Own(_) => 1.0,
            };
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        }
        Ok(())
    }
}

/// Checks that a file has the tensors that the configuration asks for, and no other.
fn check(file: &TensorFile, config: &SaeConfig) -> Result<()> {
    let architecture = config.architecture.saelens_name();
    let layout = layout(config);
    let mut wanted: Vec<&str> = layout.iter().map(|(tensor, _)| stored_name(config, tensor)).collect();
    if matches!(config.architecture, Architecture::BatchTopK(_)) {
        wanted.push(TOPK_THRESHOLD);
    }
    let names = file.names();
    if let Some(missing) = wanted.iter().find(|name| !names.contains(name)) {
        let found: Vec<_> = names.iter().take(8).map(|name| printable(name)).collect();
        let problem = format!(
            "has no tensor `{missing}`, which a {architecture} SAE needs (it has: {}); rename or add it, or correct \
             {CONFIG}",
            found.join(", ")
        );
        return Err(Error::data(file.path(), problem));
    }
    for ((_, expected), name) in layout.iter().zip(&wanted) {
        let tensor = file.floats(name)?;
        if tensor.shape() != expected {
            let problem = format!(
                "tensor `{name}` has shape {:?} where {CONFIG} makes it {expected:?}; correct whichever is wrong",
                tensor.shape()
            );
            return Err(Error::data(file.path(), problem));
        }
    }
    match names.iter().find(|name| !wanted.contains(name)) {
        Some(extra) => {
            let problem =
                format!("tensor {extra:?} does not belong to a {architecture} SAE; remove it, or correct {CONFIG}");
            Err(Error::data(file.path(), problem))
        }
        None => Ok(()),
    }
}
