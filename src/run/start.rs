//! Where a run starts: from weights that are drawn, or from an SAE.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::open::open_sae;
use crate::error::{Error, Result};
use crate::sae::description::Role;
use crate::sae::{self, Folded, SaeConfig, Weights, WithConfig, for_each_tile};
use crate::storage::checksum_file;
use crate::train::{Initialization, Recipe};

/// Where a run starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// From weights that are drawn.
    Drawn(Initialization),
    /// From the weights of an SAE.
    Sae(StartingSae),
}

impl Default for Start {
    fn default() -> Self {
        Self::Drawn(Initialization::default())
    }
}

impl Start {
    /// Whether a run starts from the same weights, wherever they lie.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sae(one), Self::Sae(other)) => one.checksum == other.checksum,
            _ => self == other,
        }
    }
}

/// An SAE that a run starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartingSae {
    path: PathBuf,
    /// XXH3 of the file of its weights, as in run.json of the run that it is from; of a checkpoint that of its state.
    checksum: String,
}

/// The settings of an SAE that its weights mean something else without.
const MEANING: [&str; 7] = [
    "architecture",
    "d_in",
    "features",
    "apply_b_dec_to_input",
    "input_normalization",
    "k",
    "rescale_acts_by_decoder_norm",
];

/// How far the norm of a decoder row may be from 1 where it is to be kept at 1.
const NORM_TOLERANCE: f64 = 1e-3;

impl StartingSae {
    /// The SAE at `path` ([`open_sae`]), for a run of this configuration and recipe.
    ///
    /// # Errors
    /// As [`open_sae`]; [`Error::Config`] naming the setting in which it is another SAE, and when the norms of its
    /// decoder rows would change in the first step.
    pub fn open(path: &Path, config: &SaeConfig, recipe: &Recipe) -> Result<Self> {
        let opened = open_sae(path)?;
        check_meaning(path, opened.weights.config(), config)?;
        if recipe.unit_norm_decoder {
            check_norms(path, &unfolded(opened.weights, recipe.row_scale))?;
        }
        let file = match &opened.checkpoint {
            Some(checkpoint) => checkpoint.path.join("state.safetensors"),
            None => sae::weights_file(path).unwrap_or_else(|| path.to_owned()),
        };
        Ok(Self { path: path.to_owned(), checksum: checksum_file(&file)? })
    }

    /// Calls `take` with its weights under the configuration of the run, for rows times `row_scale`.
    ///
    /// # Errors
    /// As [`StartingSae::open`], and those of `take`.
    pub(super) fn with_weights<T>(
        &self,
        config: &SaeConfig,
        row_scale: Option<f32>,
        take: impl FnOnce(&dyn Weights) -> Result<T>,
    ) -> Result<T> {
        let opened = open_sae(&self.path)?;
        check_meaning(&self.path, opened.weights.config(), config)?;
        let weights = unfolded(opened.weights, row_scale);
        match WithConfig::new(&weights, config.clone()) {
            Some(weights) => take(&weights),
            None => Err(refuse(&self.path, "has other tensors than the SAE to train")),
        }
    }
}

/// An SAE for rows as they are, as one for rows times `row_scale`.
fn unfolded(weights: Box<dyn Weights>, row_scale: Option<f32>) -> Folded<Box<dyn Weights>> {
    Folded::new(weights, 1.0 / row_scale.map_or(1.0, f64::from))
}

fn refuse(path: &Path, problem: &str) -> Error {
    Error::Config(format!("the SAE in {} {problem}", path.to_string_lossy().escape_debug()))
}

fn check_meaning(path: &Path, found: &SaeConfig, wanted: &SaeConfig) -> Result<()> {
    let [found, wanted] = [found, wanted].map(|config| serde_json::to_value(config).unwrap_or_default());
    let word = |value: &Value| if value.is_null() { "not given".to_owned() } else { value.to_string() };
    match MEANING.into_iter().find(|key| found[key] != wanted[key]) {
        None => Ok(()),
        Some(key) => Err(refuse(
            path,
            &format!(
                "has another {key}: {}, where this run has {}; give the run the same, or start from another SAE",
                word(&found[key]),
                word(&wanted[key])
            ),
        )),
    }
}

fn check_norms(path: &Path, weights: &dyn Weights) -> Result<()> {
    let config = weights.config();
    for tensor in config.tensors().iter().filter(|tensor| tensor.role == Role::Decoder) {
        for_each_tile(weights, tensor, |first, values| {
            for (feature, row) in (first..).zip(values.chunks_exact(config.d_in)) {
                let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
                if (norm - 1.0).abs() > NORM_TOLERANCE {
                    return Err(refuse(
                        path,
                        &format!(
                            "has decoder rows of other norms than 1 (that of feature {feature} is {norm:.4}), which \
                             the first step would set to 1: give --decoder-rule free"
                        ),
                    ));
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
