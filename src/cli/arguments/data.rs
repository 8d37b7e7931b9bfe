//! Activations, and the rows of them that are used.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
#[cfg(feature = "arrow")]
use monosem::data::StreamFilter;
use monosem::data::{Activations, FilteredRows, RowFilter};
use monosem::storage::cache_directory;
use monosem::{Error, Result};
use serde::Serialize;

use super::number::{Choice, positive, token_id, unless};
use crate::cli::output::tell;

#[derive(Args, Clone, Debug, Serialize)]
pub struct DataArguments {
    /// Activations: safetensors, NumPy or Arrow files, directories of them, or what Hugging Face `datasets` saves
    #[arg(long, required = true, num_args = 1.., value_name = "PATH", help_heading = "Data")]
    pub data: Vec<PathBuf>,
    /// Tensor or column of each file that holds the rows
    #[arg(long, default_value = Activations::TENSOR, value_name = "NAME", help_heading = "Data")]
    pub tensor: String,
}

impl DataArguments {
    /// Opens the files.
    pub fn open(&self) -> Result<Activations> {
        open_files(&self.data, &self.tensor)
    }

    /// Whether the rows come from standard input: `-`.
    pub fn is_stream(&self) -> bool {
        is_stream(&self.data)
    }
}

/// Opens files, all of which can be read at any place and again.
pub fn open_files(paths: &[PathBuf], tensor: &str) -> Result<Activations> {
    if is_stream(paths) {
        let problem =
            "`-`: standard input is read once, from front to back, by train, data info and data convert; give files";
        return Err(Error::Config(problem.into()));
    }
    Activations::open_tensor(paths, tensor)
}

/// Whether these paths mean standard input.
pub fn is_stream(paths: &[PathBuf]) -> bool {
    matches!(paths, [only] if only.as_os_str() == "-")
}

/// Rows to exclude.
#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowArguments {
    /// Exclude the rows of these tokens, e.g. BOS; the data must have the tensor `token_ids` [default: none]
    #[arg(
        long,
        value_name = "ID,..|none",
        value_delimiter = ',',
        value_parser = unless(&["none", ""], token_id),
        allow_hyphen_values = true,
        help_heading = "Data"
    )]
    exclude_tokens: Vec<Choice<i32>>,
    /// Exclude rows whose norm is above X times the median norm of all rows, e.g. 10 [default: none]
    #[arg(
        long,
        value_name = "X|none",
        value_parser = unless(&["none", "inf"], positive),
        allow_hyphen_values = true,
        help_heading = "Data"
    )]
    max_norm: Option<Choice<f64>>,
    /// What to do with a row that has a NaN or an infinity: stop, or skip it and count
    #[arg(long, value_enum, default_value_t = BadRows::Stop, help_heading = "Data")]
    bad_rows: BadRows,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum BadRows {
    Stop,
    Skip,
}

impl RowArguments {
    /// The same rows in the only way to say so.
    pub fn normalise(&mut self) {
        self.exclude_tokens.retain(Option::is_some);
        self.exclude_tokens.sort_unstable();
        self.exclude_tokens.dedup();
    }

    fn filter(&self) -> Result<RowFilter> {
        if self.exclude_tokens.len() > 1 && self.exclude_tokens.contains(&None) {
            return Err(Error::Config("--exclude-tokens: between commas there are ids, not `none` or nothing".into()));
        }
        Ok(RowFilter {
            exclude_tokens: self.exclude_tokens.iter().copied().flatten().collect(),
            max_norm: self.max_norm.flatten(),
            skip_bad: self.bad_rows == BadRows::Skip,
        })
    }

    /// The same of a stream.
    #[cfg(feature = "arrow")]
    pub fn of_stream(&self) -> Result<StreamFilter> {
        let RowFilter { exclude_tokens, max_norm, skip_bad } = self.filter()?;
        if max_norm.is_some() {
            let problem = "--max-norm needs the median norm of all rows, which a stream does not tell: save the rows, \
                           e.g. with monosem data convert, or leave it out";
            return Err(Error::Config(problem.into()));
        }
        Ok(StreamFilter { exclude_tokens, skip_bad })
    }

    /// The rows that are left, and a line on those that are not.
    pub fn select(&self, data: Arc<Activations>) -> Result<FilteredRows> {
        let filter = self.filter()?;
        let complain = |problem: &str| tell(&format!("warning: {problem}"));
        let selection = match cache_directory() {
            Some(cache) => FilteredRows::remembered(data, &filter, &cache, complain)?,
            None => FilteredRows::new(data, &filter)?,
        };
        if filter != RowFilter::default() {
            let (rows, exclusion) = (selection.data().rows(), selection.exclusion());
            let (by_token, by_norm) = (exclusion.rows_excluded_by_token, exclusion.rows_excluded_by_norm);
            let bad = exclusion.rows_excluded_not_finite;
            let excluded = by_token + by_norm + bad;
            let bad = if filter.skip_bad { format!(", {bad} not finite") } else { String::new() };
            tell(&format!("excluded {excluded} of {rows} rows ({by_token} by token, {by_norm} by norm{bad})"));
        }
        Ok(selection)
    }
}
