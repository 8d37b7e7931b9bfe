//! The rows of a set's tensors for some of its features.

use std::ops::Range;

use super::{FeatureSet, Tensors};
use crate::error::{Error, Result};
use crate::storage::Dtype;

/// What the tensors say of some features, a row each; of no width where the set lacks it.
pub(in crate::features) struct Rows {
    pub count: Vec<u64>,
    pub maximum: Vec<f32>,
    pub mean: Vec<f32>,
    pub histogram: Table<u64>,
    pub source_count: Table<u64>,
    pub decoder_norm: Vec<f32>,
    pub encoder_decoder_cosine: Vec<f32>,
    pub best_dimension: Vec<i32>,
    pub best_dimension_correlation: Vec<f32>,
    /// Features and their cosines.
    pub neighbors: Pairs,
    /// Tokens and logit weights, the largest and the smallest.
    pub logits: [Pairs; 2],
}

/// A row per feature.
#[derive(Default)]
pub(in crate::features) struct Table<T> {
    width: usize,
    values: Vec<T>,
}

impl<T> Table<T> {
    /// That of a feature.
    pub fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.width..][..self.width]
    }
}

/// Numbers of features or tokens, and a value for each.
#[derive(Default)]
pub(in crate::features) struct Pairs {
    indices: Table<i32>,
    values: Table<f32>,
}

impl Pairs {
    fn read(
        tensors: Option<&Tensors>,
        indices: &'static str,
        values: &'static str,
        rows: &Range<usize>,
    ) -> Result<Self> {
        let Some(tensors) = tensors else { return Ok(Self::default()) };
        let column = tensors.column(indices, Dtype::I32)?;
        let read = Table { width: column.width, values: tensors.rows(&column, rows.clone())? };
        let pairs = Self { indices: read, values: floats_of(tensors, values, rows)? };
        match pairs.values.width == pairs.indices.width {
            true => Ok(pairs),
            false => Err(Error::data(tensors.path(), format!("`{indices}` and `{values}` differ in width"))),
        }
    }

    /// Those of a feature; numbers below 0 stand for none.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (i32, f32)> {
        let pairs = self.indices.row(row).iter().zip(self.values.row(row));
        pairs.filter(|(index, _)| **index >= 0).map(|(&index, &value)| (index, value))
    }
}

impl Rows {
    /// Reads those of some features.
    ///
    /// # Errors
    /// [`Error::Data`] when a tensor is missing or wrong, or a neighbour does not exist, [`Error::Io`].
    pub fn read(set: &FeatureSet, rows: Range<usize>) -> Result<Self> {
        let statistics = &set.statistics;
        let counts = |name| statistics.counts(&statistics.column(name, Dtype::I64)?, rows.clone());
        let count_table = |name| match statistics.optional(name, Dtype::I64)? {
            Some(column) => Ok(Table { width: column.width, values: statistics.counts(&column, rows.clone())? }),
            None => Ok::<_, Error>(Table::default()),
        };
        let floats = |name| statistics.floats(&statistics.column(name, Dtype::F32)?, rows.clone());
        let optional = |name| Ok::<_, Error>(floats_of(statistics, name, &rows)?.values);
        let best = statistics.optional("best_dimension", Dtype::I32)?;
        let best = best.map(|column| statistics.rows(&column, rows.clone())).transpose()?;
        let logits = |tokens, weights| Pairs::read(set.logits.as_ref(), tokens, weights, &rows);
        let neighbors = Pairs::read(set.neighbors.as_ref(), "neighbors", "cosines", &rows)?;
        if let (Some(tensors), Some((feature, wrong))) = (&set.neighbors, stray(&neighbors, &rows, set.features)) {
            let problem = format!("feature {feature} has neighbour {wrong}, which does not exist");
            return Err(Error::data(tensors.path(), format!("{problem}; write the set again")));
        }
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
            logits: [logits("top_tokens", "top_logits")?, logits("bottom_tokens", "bottom_logits")?],
        })
    }
}

/// A feature with a neighbour that does not exist.
fn stray(neighbors: &Pairs, rows: &Range<usize>, features: usize) -> Option<(usize, i32)> {
    let of = |row: usize| neighbors.row(row).find(|(neighbor, _)| *neighbor as usize >= features);
    rows.clone().enumerate().find_map(|(row, feature)| Some((feature, of(row)?.0)))
}

fn floats_of(tensors: &Tensors, name: &'static str, rows: &Range<usize>) -> Result<Table<f32>> {
    match tensors.optional(name, Dtype::F32)? {
        Some(column) => Ok(Table { width: column.width, values: tensors.floats(&column, rows.clone())? }),
        None => Ok(Table::default()),
    }
}
