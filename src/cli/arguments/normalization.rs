//! What is done to rows before they are trained on.

use std::path::Path;

use clap::{Args, ValueEnum};
use monosem::Result;
use monosem::data::{Stretch, TrainingRows};
use monosem::run::stored_row_scale;
use monosem::sae::InputNormalization;
use serde::Serialize;

use super::data::DataArguments;
use crate::cli::output::tell;

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NormalizationArguments {
    /// Normalise the rows for training: expected-norm multiplies them by one factor, which makes their mean norm
    /// sqrt(d), and the SAE that is saved takes rows as they are; with layer-norm the SAE itself subtracts each row's
    /// mean, divides by its standard deviation, and undoes both in reconstructions
    #[arg(
        long,
        default_value = "none",
        value_name = "none|expected-norm|layer-norm",
        hide_possible_values = true,
        help_heading = "Data"
    )]
    normalize_activations: Normalization,
}

/// The values of `--normalize-activations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Normalization {
    None,
    ExpectedNorm,
    LayerNorm,
}

impl NormalizationArguments {
    /// What the SAE itself does to rows.
    pub fn of_input(&self) -> InputNormalization {
        match self.normalize_activations {
            Normalization::None | Normalization::ExpectedNorm => InputNormalization::None,
            Normalization::LayerNorm => InputNormalization::LayerNorm,
        }
    }

    /// What rows are multiplied by: as in the run that is resumed, if there is one, or else by the mean norm that is kept
    /// beside the data or read from them.
    ///
    /// # Errors
    /// Those of the data, and of rows that no factor normalises.
    pub fn row_scale(
        &self,
        data: &DataArguments,
        rows: &TrainingRows,
        stretch: Stretch,
        resumed: Option<&Path>,
    ) -> Result<Option<f32>> {
        if self.normalize_activations != Normalization::ExpectedNorm {
            return Ok(None);
        }
        if let Some(scale) = resumed.map(stored_row_scale).transpose()?.flatten() {
            tell(&format!("rows are multiplied by {scale}, as when the run began"));
            return Ok(Some(scale));
        }
        let kept = match &data.data[..] {
            [path] => rows.kept_mean_norm(path)?,
            _ => None,
        };
        let mean_norm = match kept {
            Some(kept) => kept,
            None => {
                if let Some(rows) = rows.rows() {
                    tell(&format!(
                        "reading {rows} rows for their mean norm (monosem data info --write keeps that of a directory)"
                    ));
                }
                rows.mean_norm(stretch)?
            }
        };
        let scale = rows.row_scale(mean_norm)?;
        let width = rows.kind().width;
        tell(&format!("rows are multiplied by {scale}: their mean norm, {mean_norm:.4}, becomes sqrt({width})"));
        Ok(Some(scale))
    }
}
