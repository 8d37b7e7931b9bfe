//! What stands beside the rows of a batch.

use std::collections::HashMap;
use std::sync::Arc;

use super::vocabulary::Vocabulary;
use crate::data::{Activations, Batch, RowIntegers, RowsView, Sources};
use crate::error::{Error, Result};

/// Sources that are counted apart: each takes 8 bytes of every feature.
pub const MAX_SOURCES: usize = 256;

/// What is known of the rows of a batch beside their codes.
pub struct BatchFacts {
    /// Their numbers in the data.
    pub numbers: Vec<u64>,
    /// Their tokens.
    pub tokens: Option<Vec<i64>>,
    /// Their sources, as places in [`RowFacts::source_names`].
    pub sources: Option<Vec<Option<usize>>>,
    /// Their values less a constant row, `[rows, d]`; empty if they are not needed.
    pub shifted: Vec<f32>,
}

/// Reads what stands beside rows.
pub struct RowFacts {
    data: Arc<Activations>,
    tokens: Option<RowIntegers>,
    sources: Option<Sources>,
    /// The places of the sources that came, by what the data call them.
    places: HashMap<u32, usize>,
    /// Rows of each, by place.
    source_rows: Vec<u64>,
    has_too_many_sources: bool,
    /// The mean of the first batch, near which sums of f32 lose little.
    shift: Option<Vec<f32>>,
}

impl RowFacts {
    /// Looks for `token_ids` and `source`.
    ///
    /// # Errors
    /// [`Error::Data`] for a tensor `source` of a wrong type.
    pub fn open(data: Arc<Activations>) -> Result<Self> {
        Ok(Self {
            tokens: RowIntegers::open(data.clone(), "token_ids"),
            sources: Sources::open(data.clone())?,
            data,
            places: HashMap::new(),
            source_rows: Vec::new(),
            has_too_many_sources: false,
            shift: None,
        })
    }

    /// The tensor `token_ids`.
    pub fn tokens(&self) -> Option<&RowIntegers> {
        self.tokens.as_ref()
    }

    /// Whether some file has sources.
    pub fn has_sources(&self) -> bool {
        self.sources.is_some()
    }

    /// Whether there were more sources than are counted.
    pub fn has_too_many_sources(&self) -> bool {
        self.has_too_many_sources
    }

    /// The names of the sources that came, in the order in which they came.
    pub fn source_names(&self) -> Vec<String> {
        let mut places: Vec<(usize, u32)> = self.places.iter().map(|(source, place)| (*place, *source)).collect();
        places.sort_unstable();
        let name = |source: u32| self.sources.as_ref().map_or_else(|| source.to_string(), |known| known.name(source));
        places.into_iter().map(|(_, source)| name(source)).collect()
    }

    /// Rows of each source since [`Self::start_pass`], in the order of their names.
    pub fn source_rows(&self) -> &[u64] {
        &self.source_rows
    }

    /// Counts the rows of sources anew.
    pub fn start_pass(&mut self) {
        self.source_rows.fill(0);
    }

    /// The names of the sources of rows.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for a value that is no source.
    pub fn sources_of(&self, rows: &[u64]) -> Result<Option<Vec<Option<String>>>> {
        let Some(sources) = &self.sources else { return Ok(None) };
        Ok(Some(sources.of(rows)?.into_iter().map(|source| Some(sources.name(source?))).collect()))
    }

    /// The facts of a batch of rows of `d` values, whose tokens must be in the vocabulary if there is one.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] for a value that is no source, and for a token that the vocabulary lacks.
    pub fn of(&mut self, batch: &Batch, d: Option<usize>, vocabulary: Option<&Vocabulary>) -> Result<BatchFacts> {
        let numbers = batch.numbers.to_vec();
        let tokens = self.tokens.as_ref().map(|tokens| tokens.of(&numbers)).transpose()?;
        if let (Some(tokens), Some(vocabulary)) = (&tokens, vocabulary) {
            self.check(tokens, &numbers, vocabulary)?;
        }
        let sources = self.sources.as_ref().map(|sources| sources.of(&numbers)).transpose()?;
        let sources = sources.map(|sources| sources.into_iter().map(|source| self.count(source?)).collect());
        let shifted = d.map(|d| self.shifted(batch.rows.view(), d)).unwrap_or_default();
        Ok(BatchFacts { numbers, tokens, sources, shifted })
    }

    /// The place of a row's source.
    fn count(&mut self, source: u32) -> Option<usize> {
        let place = self.place(source)?;
        self.source_rows[place] += 1;
        Some(place)
    }

    fn place(&mut self, source: u32) -> Option<usize> {
        let next = self.places.len();
        match self.places.get(&source) {
            None if next == MAX_SOURCES => {
                self.has_too_many_sources = true;
                None
            }
            known => Some(*known.copied().get_or_insert_with(|| {
                self.places.insert(source, next);
                self.source_rows.push(0);
                next
            })),
        }
    }

    fn check(&self, tokens: &[i64], rows: &[u64], vocabulary: &Vocabulary) -> Result<()> {
        let Some(at) = tokens.iter().position(|token| vocabulary.text(*token).is_none()) else { return Ok(()) };
        let (token, file) = (tokens[at], vocabulary.path().to_string_lossy().escape_debug().to_string());
        // Every row has a place.
        let (path, row) = self.data.place_of(rows[at]).unwrap_or((vocabulary.path(), rows[at]));
        Err(Error::data(
            path,
            format!(
                "tensor `token_ids`, row {row} is {token}, which the tokenizer {file} does not have; give the tokenizer \
                 of the model that the activations are of"
            ),
        ))
    }

    fn shifted(&mut self, rows: RowsView<'_>, d: usize) -> Vec<f32> {
        let mut rows = rows.to_f32().into_owned();
        let shift = self.shift.get_or_insert_with(|| mean(&rows, d));
        for row in rows.chunks_exact_mut(d) {
            row.iter_mut().zip(&*shift).for_each(|(value, shift)| *value -= shift);
        }
        rows
    }
}

/// The mean of `[rows, d]` rows, of which there is at least one.
fn mean(rows: &[f32], d: usize) -> Vec<f32> {
    let mut sums = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = (rows.len() / d) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}
