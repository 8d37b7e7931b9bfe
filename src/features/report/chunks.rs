//! What the page shows of a feature, some features a file: loaded when one of them is opened.

use std::ops::Range;

use serde::Serialize;

use super::script::{Shown, call, short};
use crate::error::{Error, Result};
use crate::features::reader::examples::{Example, FeatureLine, TopToken, token_text};
use crate::features::reader::{FeatureSet, Tensors, TokenNames};
use crate::storage::Dtype;

/// Features of a file.
pub(super) const FEATURES: usize = 32;

/// Files of a directory.
const FILES: usize = 1000;

/// The file that begins with feature `first`.
pub(super) fn name(first: usize) -> String {
    let number = first / FEATURES;
    format!("data/features/{:03}/{number:06}.js", number / FILES)
}

/// A file that is being filled.
pub(super) struct Chunk<'a> {
    set: &'a FeatureSet,
    names: &'a TokenNames,
    first: usize,
    rows: Rows,
    features: Vec<FeatureEntry>,
}

/// The rows of the set's tensors for a chunk's features.
struct Rows {
    count: Vec<u64>,
    maximum: Vec<f32>,
    mean: Vec<f32>,
    histogram: Table<u64>,
    source_count: Table<u64>,
    decoder_norm: Vec<f32>,
    encoder_decoder_cosine: Vec<f32>,
    best_dimension: Vec<i32>,
    best_dimension_correlation: Vec<f32>,
    neighbors: Table<i32>,
    cosines: Table<f32>,
    /// Tokens and logit weights, the largest and the smallest.
    logits: [(Table<i32>, Table<f32>); 2],
}

/// A row per feature; of width 0 where the set lacks it.
#[derive(Default)]
struct Table<T> {
    width: usize,
    values: Vec<T>,
}

impl<T> Table<T> {
    fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.width..][..self.width]
    }
}

#[derive(Serialize)]
struct FeatureEntry {
    count: u64,
    maximum: f32,
    mean: f32,
    histogram: Vec<u64>,
    source_count: Vec<u64>,
    decoder_norm: Option<f32>,
    encoder_decoder_cosine: Option<f32>,
    best_dimension: Option<i32>,
    best_dimension_correlation: Option<f32>,
    neighbors: Vec<(i32, f32)>,
    top_logits: Vec<(Shown, f32)>,
    bottom_logits: Vec<(Shown, f32)>,
    label_score: Option<f64>,
    label_source: Option<Shown>,
    top_tokens: Vec<TopTokenEntry>,
    examples: Vec<ExampleEntry>,
}

#[derive(Serialize)]
struct TopTokenEntry {
    token: Option<i64>,
    text: Shown,
    count: u64,
    mean: f32,
}

#[derive(Serialize)]
struct ExampleEntry {
    interval: u64,
    activation: f32,
    row: Option<u64>,
    sequence: Option<i64>,
    position: Option<i64>,
    source: Option<Shown>,
    focus: usize,
    missing_before: u64,
    missing_after: u64,
    tokens: Vec<i64>,
    text: Vec<Shown>,
    activations: Vec<f32>,
}

impl<'a> Chunk<'a> {
    /// Reads the tensors' rows of these features.
    ///
    /// # Errors
    /// [`Error::Data`] when a tensor is missing or wrong, [`Error::Io`].
    pub fn new(set: &'a FeatureSet, names: &'a TokenNames, features: Range<usize>) -> Result<Self> {
        Ok(Self { set, names, first: features.start, rows: Rows::read(set, features)?, features: Vec::new() })
    }

    /// Adds the next feature.
    ///
    /// # Errors
    /// [`Error::Data`] when a neighbour does not exist.
    pub fn add(&mut self, line: FeatureLine) -> Result<()> {
        let (row, rows) = (self.features.len(), &self.rows);
        let label = self.set.label(line.feature);
        let one = |values: &[f32]| values.get(row).copied().map(short);
        let neighbors = pairs(rows.neighbors.row(row), rows.cosines.row(row));
        if let (Some(tensors), Some((wrong, _))) =
            (&self.set.neighbors, neighbors.iter().find(|(at, _)| *at as usize >= self.set.features))
        {
            let problem = format!("feature {} has neighbour {wrong}, which does not exist", line.feature);
            return Err(Error::data(tensors.path(), format!("{problem}; write the set again")));
        }
        self.features.push(FeatureEntry {
            count: rows.count[row],
            maximum: short(rows.maximum[row]),
            mean: short(rows.mean[row]),
            histogram: rows.histogram.row(row).to_vec(),
            source_count: rows.source_count.row(row).to_vec(),
            decoder_norm: one(&rows.decoder_norm),
            encoder_decoder_cosine: one(&rows.encoder_decoder_cosine),
            best_dimension: rows.best_dimension.get(row).copied(),
            best_dimension_correlation: one(&rows.best_dimension_correlation),
            neighbors,
            top_logits: self.named(&rows.logits[0], row),
            bottom_logits: self.named(&rows.logits[1], row),
            label_score: label.and_then(|label| label.score),
            label_source: label.and_then(|label| label.source.as_deref()).map(Shown::from),
            top_tokens: line.top_tokens.into_iter().map(TopTokenEntry::from).collect(),
            examples: line.examples.into_iter().map(ExampleEntry::from).collect(),
        });
        Ok(())
    }

    /// A feature's logit weights, with the tokens' texts.
    fn named(&self, (tokens, values): &(Table<i32>, Table<f32>), row: usize) -> Vec<(Shown, f32)> {
        let name = |token: i32| Shown::from(&*token_text(self.names.get(token), Some(token.into())));
        pairs(tokens.row(row), values.row(row)).into_iter().map(|(token, value)| (name(token), value)).collect()
    }

    /// The file.
    pub fn script(&self) -> String {
        call("addChunk", Some(self.first / FEATURES), &self.features)
    }
}

/// Entries below 0 stand for none.
fn pairs(indices: &[i32], values: &[f32]) -> Vec<(i32, f32)> {
    let pairs = indices.iter().zip(values).filter(|(index, _)| **index >= 0);
    pairs.map(|(&index, &value)| (index, short(value))).collect()
}

impl Rows {
    fn read(set: &FeatureSet, rows: Range<usize>) -> Result<Self> {
        let statistics = &set.statistics;
        let counts = |name| statistics.counts(&statistics.column(name, Dtype::I64)?, rows.clone());
        let count_table = |name| match statistics.optional(name, Dtype::I64)? {
            Some(column) => Ok(Table { width: column.width, values: statistics.counts(&column, rows.clone())? }),
            None => Ok::<_, Error>(Table::default()),
        };
        let floats = |name| statistics.floats(&statistics.column(name, Dtype::F32)?, rows.clone());
        let optional = |name| Ok::<_, Error>(floats_of(Some(statistics), name, &rows)?.values);
        let best = statistics.optional("best_dimension", Dtype::I32)?;
        let best = best.map(|column| statistics.rows(&column, rows.clone())).transpose()?;
        let logits = |tokens, values| -> Result<(Table<i32>, Table<f32>)> {
            same_width(set.logits.as_ref(), tokens, values, &rows)
        };
        let (neighbors, cosines) = same_width(set.neighbors.as_ref(), "neighbors", "cosines", &rows)?;
        Ok(Self {
            count: counts("count")?,
            maximum: floats("maximum")?,
            mean: floats("mean")?,
            histogram: count_table("histogram")?,
            source_count: count_table("source_count")?,
            decoder_norm: optional("decoder_norm")?,
            encoder_decoder_cosine: optional("encoder_decoder_cosine")?,
            best_dimension: best.unwrap_or_default(),
            best_dimension_correlation: optional("best_dimension_correlation")?,
            neighbors,
            cosines,
            logits: [logits("top_tokens", "top_logits")?, logits("bottom_tokens", "bottom_logits")?],
        })
    }
}

/// Numbers and their values, side by side.
fn same_width(
    tensors: Option<&Tensors>,
    indices: &'static str,
    values: &'static str,
    rows: &Range<usize>,
) -> Result<(Table<i32>, Table<f32>)> {
    let Some(tensors) = tensors else { return Ok(<_>::default()) };
    let column = tensors.column(indices, Dtype::I32)?;
    let indices_read = Table { width: column.width, values: tensors.rows(&column, rows.clone())? };
    let values_read = floats_of(Some(tensors), values, rows)?;
    match values_read.width == indices_read.width {
        true => Ok((indices_read, values_read)),
        false => Err(Error::data(tensors.path(), format!("`{indices}` and `{values}` differ in width"))),
    }
}

fn floats_of(tensors: Option<&Tensors>, name: &'static str, rows: &Range<usize>) -> Result<Table<f32>> {
    let column = tensors.map(|tensors| tensors.optional(name, Dtype::F32)).transpose()?.flatten();
    match (tensors, column) {
        (Some(tensors), Some(column)) => {
            Ok(Table { width: column.width, values: tensors.floats(&column, rows.clone())? })
        }
        _ => Ok(Table::default()),
    }
}

impl From<TopToken> for TopTokenEntry {
    fn from(top: TopToken) -> Self {
        let text = token_text(top.text.as_deref(), top.token);
        Self { token: top.token, text: Shown::from(&*text), count: top.count, mean: short(top.mean) }
    }
}

impl From<Example> for ExampleEntry {
    fn from(example: Example) -> Self {
        let text = example.text.unwrap_or_default();
        Self {
            interval: example.interval,
            activation: short(example.activation),
            row: example.row,
            sequence: example.sequence,
            position: example.position,
            source: example.source.as_deref().map(Shown::from),
            focus: example.focus,
            missing_before: example.missing_before,
            missing_after: example.missing_after,
            tokens: example.tokens.unwrap_or_default(),
            text: text.iter().map(|text| Shown::from(&**text)).collect(),
            activations: example.activations.unwrap_or_default().into_iter().map(short).collect(),
        }
    }
}
