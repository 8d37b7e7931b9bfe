//! What the page shows of a feature, some features a file: loaded when one of them is opened.

use std::ops::Range;

use serde::Serialize;

use super::script::{Shown, call, short};
use crate::error::Result;
use crate::features::reader::examples::{Example, FeatureLine, TopToken, token_text};
use crate::features::reader::{FeatureSet, Pairs, Rows, TokenNames};

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
    /// [`crate::Error::Data`] when a tensor is missing or wrong, [`crate::Error::Io`].
    pub fn new(set: &'a FeatureSet, names: &'a TokenNames, features: Range<usize>) -> Result<Self> {
        Ok(Self { set, names, first: features.start, rows: Rows::read(set, features)?, features: Vec::new() })
    }

    /// Adds the next feature.
    pub fn add(&mut self, line: FeatureLine) {
        let (row, rows) = (self.features.len(), &self.rows);
        let label = self.set.label(line.feature);
        let one = |values: &[f32]| values.get(row).copied().map(short);
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
            neighbors: rows.neighbors.row(row).map(|(index, cosine)| (index, short(cosine))).collect(),
            top_logits: self.named(&rows.logits[0], row),
            bottom_logits: self.named(&rows.logits[1], row),
            label_score: label.and_then(|label| label.score),
            label_source: label.and_then(|label| label.source.as_deref()).map(Shown::from),
            top_tokens: line.top_tokens.into_iter().map(TopTokenEntry::from).collect(),
            examples: line.examples.into_iter().map(ExampleEntry::from).collect(),
        });
    }

    /// A feature's logit weights, with the tokens' texts.
    fn named(&self, weights: &Pairs, row: usize) -> Vec<(Shown, f32)> {
        let name = |token: i32| Shown::from(&*token_text(self.names.get(token), Some(token.into())));
        weights.row(row).map(|(token, weight)| (name(token), short(weight))).collect()
    }

    /// The file.
    pub fn script(&self) -> String {
        call("addChunk", Some(self.first / FEATURES), &self.features)
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
