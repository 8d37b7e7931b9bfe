//! Activations, and the rows of them that are used.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use monosem::Result;
use monosem::data::{Activations, FilteredRows, RowFilter};
use monosem::storage::cache_directory;
use serde::{Deserialize, Serialize};

use crate::cli::output::tell;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct DataArguments {
    /// Activations: safetensors files, or directories of them
    #[arg(long, required = true, num_args = 1.., value_name = "PATH", help_heading = "Data")]
    pub data: Vec<PathBuf>,
}

/// Rows to exclude.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowArguments {
    /// Exclude the rows of these tokens, e.g. BOS; the data must have the tensor `token_ids` [default: none]
    #[arg(long, value_name = "ID,..", value_delimiter = ',', allow_hyphen_values = true, help_heading = "Data")]
    exclude_tokens: Vec<i32>,
    /// Exclude rows whose norm is above X times the median norm of all rows, e.g. 10 [default: no limit]
    #[arg(long, value_name = "X", allow_hyphen_values = true, help_heading = "Data")]
    max_norm: Option<f64>,
}

impl RowArguments {
    /// The rows that are left, and a line on those that are not.
    pub fn select(&self, data: Arc<Activations>) -> Result<FilteredRows> {
        let filter = RowFilter { exclude_tokens: self.exclude_tokens.clone(), max_norm: self.max_norm };
        let complain = |problem: &str| tell(&format!("warning: {problem}"));
        let selection = match cache_directory() {
            Some(cache) => FilteredRows::remembered(data, &filter, &cache, complain)?,
            None => FilteredRows::new(data, &filter)?,
        };
        if filter != RowFilter::default() {
            let (rows, exclusion) = (selection.data().rows(), selection.exclusion());
            let (by_token, by_norm) = (exclusion.rows_excluded_by_token, exclusion.rows_excluded_by_norm);
            let excluded = by_token + by_norm;
            tell(&format!("excluded {excluded} of {rows} rows ({by_token} by token, {by_norm} by norm)"));
        }
        Ok(selection)
    }
}
