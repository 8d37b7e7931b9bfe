//! A set of features, read.

pub(super) mod examples;
mod rows;
mod token_names;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::labels::{self, Label};
use super::set::{DESCRIPTION, FORMAT};
use crate::error::{Error, Result};
use crate::storage::Dtype;
use crate::storage::tensor_file::TensorFile;
pub(super) use rows::{Pairs, Rows};
pub(super) use token_names::TokenNames;

/// What features.json says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Description {
    pub format: String,
    pub format_version: u64,
    #[serde(default)]
    pub monosem_version: String,
    pub sae: SaeDescription,
    #[serde(default)]
    pub data: Vec<Value>,
    pub tokens: u64,
    pub examples: ExampleCounts,
    #[serde(default)]
    pub missing: Vec<String>,
    #[serde(default)]
    pub sources: Vec<String>,
    /// Rows of each; older sets lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_tokens: Option<Vec<u64>>,
    #[serde(default)]
    pub histogram_log2_edges: Vec<f64>,
    #[serde(default)]
    pub special_tokens: Vec<Value>,
    #[serde(flatten)]
    pub others: serde_json::Map<String, Value>,
}

/// The SAE whose features these are.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct SaeDescription {
    pub features: u64,
    #[serde(flatten)]
    pub others: serde_json::Map<String, Value>,
}

/// How examples were chosen.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ExampleCounts {
    #[serde(default)]
    pub per_interval: u64,
    pub intervals: u64,
    #[serde(flatten)]
    pub others: serde_json::Map<String, Value>,
}

/// A set whose files are there and of the sizes that features.json announces.
pub(super) struct FeatureSet {
    pub directory: PathBuf,
    pub description: Description,
    pub features: usize,
    pub statistics: Tensors,
    pub neighbors: Option<Tensors>,
    pub logits: Option<Tensors>,
    /// By feature.
    pub labels: BTreeMap<u64, Label>,
}

impl FeatureSet {
    /// Opens the set in a directory.
    ///
    /// # Errors
    /// [`Error::Data`] when files are missing, damaged or of other sizes, [`Error::Io`].
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(DESCRIPTION);
        if directory.is_dir() && !path.exists() {
            let problem = format!("has no {DESCRIPTION}: name a directory that `monosem features` wrote");
            return Err(Error::data(directory, problem));
        }
        let text = fs::read(&path).map_err(Error::io(&path))?;
        let description: Description = serde_json::from_slice(&text).map_err(|error| invalid(&path, &error))?;
        let (format, version) = FORMAT;
        if description.format != format || description.format_version != u64::from(version) {
            let problem = format!("is not of the format {format}, version {version}: write it with this monosem");
            return Err(Error::data(&path, problem));
        }
        if description.source_tokens.as_ref().is_some_and(|tokens| tokens.len() != description.sources.len()) {
            let problem = "`source_tokens` and `sources` differ in length; write the set again";
            return Err(Error::data(&path, problem));
        }
        let features = description.sae.features;
        if features == 0 || features > u64::from(u32::MAX) {
            return Err(Error::data(&path, format!("says {features} features; there are 1 to 4,294,967,295")));
        }
        let features = features as usize;
        let open = |name: &str| Tensors::open(&directory.join(name), features);
        let optional = |name: &str| directory.join(name).exists().then(|| open(name)).transpose();
        Ok(Self {
            statistics: open("statistics.safetensors")?,
            neighbors: optional("neighbors.safetensors")?,
            logits: optional("logits.safetensors")?,
            labels: labels::of_set(directory, features as u64)?,
            directory: directory.to_owned(),
            description,
            features,
        })
    }

    /// The label of a feature.
    pub fn label(&self, feature: usize) -> Option<&Label> {
        self.labels.get(&(feature as u64))
    }

    /// The error where examples must have text and have none.
    pub fn lacks_text(&self) -> Error {
        let problem = "its examples have no text: write the set with `monosem features --tokenizer`, from data with \
                       token_ids";
        Error::data(&self.directory, problem)
    }
}

/// An error about JSON.
pub(super) fn invalid(path: &Path, error: &serde_json::Error) -> Error {
    Error::data(path, format!("{}; write the set again", error.to_string().escape_debug()))
}

/// Tensors with a row per feature.
pub(super) struct Tensors {
    file: TensorFile,
    features: usize,
}

/// A tensor [features, width].
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    pub width: usize,
    start: u64,
}

impl Tensors {
    /// A file of `features` rows.
    ///
    /// # Errors
    /// [`Error::Data`] when it is damaged, [`Error::Io`].
    pub fn open(path: &Path, features: usize) -> Result<Self> {
        Ok(Self { file: TensorFile::open(path)?, features })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its rows.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The tensor `name` of `dtype`.
    ///
    /// # Errors
    /// [`Error::Data`] when it is missing, of another type, or has another number of rows.
    pub fn column(&self, name: &'static str, dtype: Dtype) -> Result<Column> {
        let fault = |problem: String| Error::data(self.path(), format!("{problem}; write the set again"));
        let Some((found, shape, place)) = self.file.place(name) else {
            return Err(fault(format!("has no tensor `{name}`")));
        };
        let (rows, width) = match *shape {
            [rows] => (rows, 1),
            [rows, width] => (rows, width),
            _ => (0, 0),
        };
        if found != dtype || rows != self.features {
            let problem = format!("tensor `{name}` is {found:?} {shape:?}, not {dtype:?} with {} rows", self.features);
            return Err(fault(problem));
        }
        Ok(Column { name, width, start: place.start })
    }

    /// A tensor that need not be there.
    ///
    /// # Errors
    /// As [`Self::column`], if it is there.
    pub fn optional(&self, name: &'static str, dtype: Dtype) -> Result<Option<Column>> {
        self.file.place(name).map(|_| self.column(name, dtype)).transpose()
    }

    /// The rows `rows` of a column of that type.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rows<T: bytemuck::Pod>(&self, column: &Column, rows: Range<usize>) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); rows.len() * column.width];
        let offset = column.start + (rows.start * column.width * size_of::<T>()) as u64;
        self.file.read_raw(column.name, offset, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// Rows of floats, all of them finite.
    ///
    /// # Errors
    /// [`Error::Data`] when one is not, [`Error::Io`].
    pub fn floats(&self, column: &Column, rows: Range<usize>) -> Result<Vec<f32>> {
        let values: Vec<f32> = self.rows(column, rows)?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(Error::data(self.path(), format!("`{}` has a number that is not finite", column.name))),
        }
    }

    /// Rows of counts, none of them negative.
    ///
    /// # Errors
    /// [`Error::Data`] when one is, [`Error::Io`].
    pub fn counts(&self, column: &Column, rows: Range<usize>) -> Result<Vec<u64>> {
        let values: Vec<i64> = self.rows(column, rows)?;
        let negative = || Error::data(self.path(), format!("`{}` has a negative count", column.name));
        values.into_iter().map(|value| u64::try_from(value).map_err(|_| negative())).collect()
    }
}
