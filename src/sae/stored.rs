//! SAEs in a safetensors file, whatever their tensors are called there.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::description::{Shape, TensorSpec};
use super::folded::fold;
use super::{SaeConfig, Weights};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::storage::Dtype;
use crate::storage::header::printable;
use crate::storage::tensor_file::TensorFile;

/// Columns of a transposed matrix that are turned at a time: a cache line of each row.
pub(super) const STRIPE: usize = 16;

/// More than any configuration needs, and little enough to read from any file.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Parses a configuration.
pub(super) fn parse_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut text = Vec::new();
    file.take(MAX_CONFIG_BYTES).read_to_end(&mut text).map_err(Error::io(path))?;
    serde_json::from_slice(&text).map_err(|error| {
        let error = error.to_string().escape_debug().to_string();
        Error::data(path, format!("{error}; write the configuration again"))
    })
}

/// A tensor and how a file has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredTensor {
    /// The tensor.
    pub tensor: TensorSpec,
    /// Its name there.
    pub name: &'static str,
    /// A matrix with a column per feature, not a row.
    pub transposed: bool,
}

impl StoredTensor {
    /// The shape that the file has it in.
    pub fn shape(&self, config: &SaeConfig) -> Vec<usize> {
        let [rows, columns] = self.tensor.shape(config);
        match self.tensor.shape {
            Shape::FeatureRows if self.transposed => vec![columns, rows],
            Shape::FeatureRows => vec![rows, columns],
            Shape::FeatureScalars => vec![rows],
            Shape::ModelRow => vec![columns],
        }
    }
}

/// What a file should hold.
pub(super) struct Contents {
    /// The SAE as its tensors are.
    pub config: SaeConfig,
    /// The origin of its data.
    pub provenance: Provenance,
    /// Its tensors.
    pub tensors: Vec<StoredTensor>,
    /// The names of others that are read apart.
    pub others: &'static [&'static str],
    /// What rows were multiplied by before they came to the SAE: folded into what is read.
    pub scale: Option<f64>,
}

/// The tensors of a file, as they are in it.
pub(super) struct StoredWeights {
    file: TensorFile,
    contents: Contents,
}

impl StoredWeights {
    /// Those of a file, which must have what it should hold, and nothing else.
    ///
    /// # Errors
    /// [`Error::Data`] when a tensor is missing, of another shape or type, or unknown.
    pub fn new(file: TensorFile, contents: Contents) -> Result<Self> {
        let stored = Self { file, contents };
        stored.check()?;
        Ok(stored)
    }

    fn check(&self) -> Result<()> {
        let Contents { config, tensors, others, .. } = &self.contents;
        let architecture = config.architecture.saelens_name();
        let names = self.file.names();
        let wanted: Vec<&str> = tensors.iter().map(|stored| stored.name).chain(others.iter().copied()).collect();
        if let Some(missing) = wanted.iter().find(|name| !names.contains(name)) {
            let found: Vec<_> = names.iter().take(8).map(|name| printable(name)).collect();
            let problem = format!(
                "has no tensor `{missing}`, which a {architecture} SAE needs (it has: {}); rename or add it, or correct \
                 the architecture",
                found.join(", ")
            );
            return Err(Error::data(self.file.path(), problem));
        }
        if let Some(extra) = names.iter().find(|name| !wanted.contains(name)) {
            let problem = format!(
                "tensor {extra:?} does not belong to a {architecture} SAE; remove it, or correct the architecture"
            );
            return Err(Error::data(self.file.path(), problem));
        }
        for stored in tensors {
            let (found, expected) = (self.file.floats(stored.name)?, stored.shape(config));
            if found.shape() != expected {
                let problem = format!(
                    "tensor `{}` has shape {:?}, not the {expected:?} of this SAE; correct it or the configuration",
                    stored.name,
                    found.shape()
                );
                return Err(Error::data(self.file.path(), problem));
            }
        }
        Ok(())
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// A tensor that is read apart: one number in f64.
    ///
    /// # Errors
    /// [`Error::Data`] when it is something else; those of reading.
    pub fn number(&self, name: &str) -> Result<f64> {
        let number = self.file.place(name).filter(|(dtype, shape, _)| *dtype == Dtype::F64 && shape.is_empty());
        let Some((_, _, place)) = number else {
            let problem = format!("tensor `{}` is not one number in F64; write it as such", printable(name));
            return Err(Error::data(self.file.path(), problem));
        };
        let mut bytes = [0; 8];
        self.file.read_raw(name, place.start, &mut bytes)?;
        Ok(f64::from_le_bytes(bytes))
    }

    fn read_stored(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        let config = &self.contents.config;
        let Some(stored) = self.contents.tensors.iter().find(|stored| stored.tensor.role == tensor.role) else {
            let architecture = config.architecture.saelens_name();
            return Err(Error::Config(format!("a {architecture} SAE has no {}", tensor.name)));
        };
        let found = self.file.floats(stored.name)?;
        let [features, columns] = tensor.shape(config);
        if !stored.transposed {
            return self.file.read(&found, (first * columns) as u64, values);
        }
        let count = values.len() / columns;
        let mut stripe = vec![0.0; count * STRIPE.min(columns)];
        for start in (0..columns).step_by(STRIPE) {
            let width = STRIPE.min(columns - start);
            for (column, stripe) in (start..start + width).zip(stripe.chunks_exact_mut(count)) {
                self.file.read(&found, (column * features + first) as u64, stripe)?;
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
        &self.contents.config
    }

    fn provenance(&self) -> &Provenance {
        &self.contents.provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        self.read_stored(tensor, first, values)?;
        if tensor.non_negative {
            // SAELens rectifies a value before it compares it with its threshold.
            values.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        if let Some(scale) = self.contents.scale {
            fold(tensor, scale, values);
        }
        Ok(())
    }
}
