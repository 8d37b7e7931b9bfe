//! Activations, and the rows of them that are used.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use monosem::Result;
use monosem::data::{Activations, FilteredRows, RowFilter};
use serde::{Deserialize, Deserializer, Serialize};

use super::list::one_or_more;
use crate::cli::output::tell;

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct DataArguments {
    /// Activations: safetensors files, or directories of them
    #[arg(long, required = true, num_args = 1.., value_name = "PATH", help_heading = "Data")]
    #[serde(deserialize_with = "one_or_more")]
    pub data: Vec<PathBuf>,
    /// Tensor of each file that holds the rows
    #[arg(long, default_value = Activations::TENSOR, value_name = "NAME", help_heading = "Data")]
    #[serde(default = "usual_tensor")]
    tensor: String,
}

impl DataArguments {
    /// Opens the files.
    pub fn open(&self) -> Result<Activations> {
        Activations::open_tensor(&self.data, &self.tensor)
    }
}

/// What config.toml means without the key, as before there was one.
fn usual_tensor() -> String {
    Activations::TENSOR.into()
}

/// Rows to exclude.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowArguments {
    /// Exclude the rows of these tokens, e.g. BOS; the data must have the tensor `token_ids` [default: none]
    #[arg(long, value_name = "ID,..", value_delimiter = ',', allow_hyphen_values = true, help_heading = "Data")]
    #[serde(deserialize_with = "token_set")]
    exclude_tokens: Vec<i32>,
    /// Exclude rows whose norm is above X times the median norm of all rows, e.g. 10 [default: no limit]
    #[arg(long, value_name = "X", allow_hyphen_values = true, help_heading = "Data")]
    max_norm: Option<f64>,
}

/// Equal sets are equal lists.
fn token_set<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<i32>, D::Error> {
    one_or_more(deserializer).map(sorted)
}

fn sorted(mut tokens: Vec<i32>) -> Vec<i32> {
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

impl RowArguments {
    /// The same rows in the one way to say it.
    pub fn resolved(self) -> Self {
        Self { exclude_tokens: sorted(self.exclude_tokens), ..self }
    }

    /// The rows that are left, and a line on those that are not.
    pub fn select(&self, data: Arc<Activations>) -> Result<FilteredRows> {
        let filter = RowFilter { exclude_tokens: self.exclude_tokens.clone(), max_norm: self.max_norm };
        let selection = FilteredRows::new(data, &filter)?;
        if filter != RowFilter::default() {
            let (rows, exclusion) = (selection.data().rows(), selection.exclusion());
            let (by_token, by_norm) = (exclusion.rows_excluded_by_token, exclusion.rows_excluded_by_norm);
            let excluded = by_token + by_norm;
            tell(&format!("excluded {excluded} of {rows} rows ({by_token} by token, {by_norm} by norm)"));
        }
        Ok(selection)
    }
}
