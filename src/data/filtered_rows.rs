//! Rows left out: by token, and by norm.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Activations;
use super::integers::IntegerColumn;
use super::norm_cache::NormCache;
use super::unusual_rows::UnusualRows;
use crate::error::{Error, Result};
use crate::storage::tensor_file::CHUNK_BYTES;

/// Integers read at a time.
const CHUNK: u64 = (CHUNK_BYTES / 4) as u64;

/// Which rows to leave out; by default none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowFilter {
    /// Rows of these tokens, by the tensor `token_ids` of every file: `[rows]`, u8, u16, u32, i32 or i64, of values
    /// that fit i32.
    pub exclude_tokens: Vec<i32>,
    /// Rows whose Euclidean norm is above so many times the median norm of all finite rows.
    pub max_norm: Option<f64>,
    /// Rows with a value that is not finite, which are an error otherwise.
    pub skip_bad: bool,
}

/// Numbers of rows left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exclusion {
    /// Rows of an excluded token.
    pub rows_excluded_by_token: u64,
    /// Rows of other tokens whose norm is too large.
    pub rows_excluded_by_norm: u64,
    /// Rows of other tokens with a value that is not finite.
    pub rows_excluded_not_finite: u64,
}

/// The rows of some activations that are not left out, in their order.
#[derive(Clone, Debug)]
pub struct FilteredRows {
    data: Arc<Activations>,
    /// For each row left out, ascending, the number of selected rows before it.
    selected_before: Arc<[u64]>,
    exclusion: Exclusion,
}

impl From<Arc<Activations>> for FilteredRows {
    fn from(data: Arc<Activations>) -> Self {
        Self { data, selected_before: Arc::default(), exclusion: Exclusion::default() }
    }
}

impl RowFilter {
    /// Checks that the norm is one.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not finite or not above 0.
    pub fn validate(&self) -> Result<()> {
        match self.max_norm {
            Some(limit) if !(limit.is_finite() && limit > 0.0) => Err(Error::Config(format!(
                "the largest norm is {limit} times the median: it must be finite and above 0, e.g. 10"
            ))),
            _ => Ok(()),
        }
    }
}

impl FilteredRows {
    /// Leaves rows out. Excluded tokens cost a pass over `token_ids`, a largest norm one over all activations and, for
    /// its time, 8 bytes of memory per row; what stays is 8 bytes per row left out.
    ///
    /// The median is that of all rows, left out by token or not; of an even number, the mean of the middle two. Norms
    /// are f64 sums rounded to f32.
    ///
    /// # Errors
    /// [`Error::Config`] for an unusable filter, a median norm of 0, and when no row is left; [`Error::Data`] when a
    /// file has no `token_ids` that can be used, or a value that is not finite; [`Error::Io`].
    pub fn new(data: Arc<Activations>, filter: &RowFilter) -> Result<Self> {
        Self::select(data, filter, UnusualRows::find)
    }

    /// As [`FilteredRows::new`], but remembers the rows above a largest norm in the directory `cache`, by what
    /// identifies the files' contents, when they were written, and the limit; nothing is read where it remembers them.
    /// It cannot always: `complain` is then given the problem.
    ///
    /// # Errors
    /// As [`FilteredRows::new`].
    pub fn remembered(
        data: Arc<Activations>,
        filter: &RowFilter,
        cache: &Path,
        mut complain: impl FnMut(&str),
    ) -> Result<Self> {
        Self::select(data, filter, |data, filter| {
            let cache = NormCache::new(cache, data, filter)?;
            let (remembered, problem) = cache.get();
            problem.iter().for_each(|problem| complain(problem));
            if let Some(rows) = remembered {
                return Ok(rows);
            }
            let rows = UnusualRows::find(data, filter)?;
            cache.insert(&rows).iter().for_each(|problem| complain(problem));
            Ok(rows)
        })
    }

    fn select(
        data: Arc<Activations>,
        filter: &RowFilter,
        find_unusual: impl FnOnce(&Activations, &RowFilter) -> Result<UnusualRows>,
    ) -> Result<Self> {
        filter.validate()?;
        let mut excluded = rows_of_tokens(&data, &filter.exclude_tokens)?;
        let by_token = excluded.len();
        let mut not_finite = 0;
        if filter.max_norm.is_some() || filter.skip_bad {
            let unusual = find_unusual(&data, filter)?;
            let is_new = |row: &u64| excluded[..by_token].binary_search(row).is_err();
            let bad: Vec<u64> = unusual.not_finite.into_iter().filter(is_new).collect();
            let too_large: Vec<u64> = unusual.too_large.into_iter().filter(is_new).collect();
            not_finite = bad.len();
            excluded.extend(bad.into_iter().chain(too_large));
            excluded.sort_unstable();
        }
        let exclusion = Exclusion {
            rows_excluded_by_token: by_token as u64,
            rows_excluded_by_norm: (excluded.len() - by_token - not_finite) as u64,
            rows_excluded_not_finite: not_finite as u64,
        };
        if excluded.len() as u64 == data.rows() {
            let Exclusion { rows_excluded_by_token, rows_excluded_by_norm, rows_excluded_not_finite } = exclusion;
            return Err(Error::Config(format!(
                "all {} rows are left out, {rows_excluded_by_token} by token, {rows_excluded_by_norm} by norm and \
                 {rows_excluded_not_finite} because they are not finite: exclude fewer tokens, allow larger norms, or \
                 compute the rows again",
                data.rows()
            )));
        }
        let selected_before = (0..).zip(excluded).map(|(before, row)| row - before).collect();
        Ok(Self { data, selected_before, exclusion })
    }

    /// Number of selected rows, at least 1.
    pub fn rows(&self) -> u64 {
        self.data.rows() - self.selected_before.len() as u64
    }

    /// The row at place `place` among the selected ones.
    pub fn row(&self, place: u64) -> u64 {
        place + self.selected_before.partition_point(|&before| before <= place) as u64
    }

    /// The activations that were selected from.
    pub fn data(&self) -> &Arc<Activations> {
        &self.data
    }

    /// The numbers of rows left out.
    pub fn exclusion(&self) -> Exclusion {
        self.exclusion
    }
}

/// The rows of these tokens, ascending.
fn rows_of_tokens(data: &Activations, tokens: &[i32]) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    if tokens.is_empty() {
        return Ok(found);
    }
    let mut tokens = tokens.to_vec();
    tokens.sort_unstable();
    let mut ids = Vec::new();
    for (file, rows) in data.readers() {
        let count = rows.end - rows.start;
        let column = IntegerColumn::find(file, "token_ids", i32::MIN..=i32::MAX)?.ok_or_else(|| {
            let problem = "has no tensor `token_ids` (integers, one per row) to tell excluded tokens by; \
                           add it, or exclude no tokens";
            Error::data(file.path(), problem)
        })?;
        for first in (0..count).step_by(CHUNK as usize) {
            ids.resize((count - first).min(CHUNK) as usize, 0);
            column.read(file, first, &mut ids)?;
            let numbered = (rows.start + first..).zip(&ids);
            found.extend(numbered.filter(|(_, id)| tokens.binary_search(id).is_ok()).map(|(row, _)| row));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
