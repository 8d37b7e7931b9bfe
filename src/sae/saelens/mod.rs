//! SAELens's layout: a directory with `cfg.json` and `sae_weights.safetensors` (as SAELens 6.54.12 writes it). Its
//! inference layout is written; that and its training layout are read.

mod config;
mod tensors;

use std::path::{Path, PathBuf};

use super::description::KeyScale;
use super::directory::SaeFile;
use super::stored::{Contents, StoredWeights};
use super::{Architecture, AsJumpRelu, JumpRelu, Weights};
use crate::error::{Error, Result};
use crate::storage::replace_file;
use crate::storage::staging::Staging;
use crate::storage::tensor_file::TensorFile;
use config::Stored;
use tensors::LOG_THRESHOLD;

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";
/// What a checkpoint of SAELens has beside it where the scale of the rows is not folded into its weights.
const SCALER: &str = "activation_scaler.json";
/// The threshold of an SAE as training with BatchTopK leaves it: one number in f64.
const TOPK_THRESHOLD: &str = "topk_threshold";

/// Saves an SAE as the new directory `dir`, all of it or nothing: it appears under its name only when it is on the
/// disk. SAEs of BatchTopK and Matryoshka are saved as [`AsJumpRelu`], which has their threshold.
///
/// # Errors
/// [`Error::Exists`] when `dir` exists, [`Error::Config`] when the sizes and weights do not make an SAE that
/// [`super::load`] would take; [`Error::Io`]; those of the weights. Nothing is left behind.
pub fn save(weights: &dyn Weights, dir: &Path) -> Result<()> {
    weights.config().validate()?;
    NewDirectory::create(dir)?.save(weights)
}

/// A directory that will hold an SAE: begun before the work, so that a path that cannot be written fails early.
pub struct NewDirectory {
    staging: Staging,
    dir: PathBuf,
}

impl NewDirectory {
    /// Begins the new directory `dir`, which does not have its name until an SAE is saved.
    ///
    /// # Errors
    /// [`Error::Exists`] when `dir` exists, [`Error::Io`] when its parent cannot be written.
    pub fn create(dir: &Path) -> Result<Self> {
        Ok(Self { staging: Staging::new(dir)?, dir: dir.to_owned() })
    }

    /// As [`save`].
    ///
    /// # Errors
    /// As [`save`].
    pub fn save(self, weights: &dyn Weights) -> Result<()> {
        weights.config().validate()?;
        let path = self.staging.path();
        let logarithms = AsJumpRelu::of_logarithms(weights);
        let weights: &dyn Weights = match &logarithms {
            Ok(linear) => linear,
            Err(weights) => *weights,
        };
        replace_file(&path.join(CONFIG), format!("{:#}\n", config::json(weights)?).as_bytes())?;
        tensors::write(weights, &path.join(WEIGHTS))?;
        self.staging.commit(&self.dir)
    }
}

/// Opens the SAE in a directory.
pub(super) fn open(dir: &Path) -> Result<SaeFile> {
    let Stored { mut config, provenance, trained_as, scale } = config::read(dir)?;
    let file = TensorFile::open(&dir.join(WEIGHTS))?;
    let others: &[&str] = match &config.architecture {
        Architecture::BatchTopK(_) => &[TOPK_THRESHOLD],
        Architecture::JumpRelu(jumprelu) if file.names().contains(&LOG_THRESHOLD) => {
            config.architecture = JumpRelu { log_threshold: true, ..jumprelu.clone() }.into();
            &[]
        }
        _ => &[],
    };
    let tensors = tensors::stored(&config);
    let stored = StoredWeights::new(file, Contents { config, provenance, tensors, others, scale })?;
    let weights: Box<dyn Weights> = match stored.config().architecture {
        Architecture::BatchTopK(_) => {
            let threshold = threshold(&stored, scale)?;
            Box::new(AsJumpRelu::with_threshold(stored, threshold)?)
        }
        _ => match AsJumpRelu::of_logarithms(stored) {
            Ok(linear) => Box::new(linear),
            Err(stored) => Box::new(stored),
        },
    };
    Ok(SaeFile { weights, trained_as })
}

/// The threshold that training with BatchTopK arrived at.
fn threshold(stored: &StoredWeights, scale: Option<f64>) -> Result<f32> {
    let threshold = stored.number(TOPK_THRESHOLD)?;
    if !((threshold as f32).is_finite() && threshold >= 0.0) {
        let problem = format!("`{TOPK_THRESHOLD}` is {threshold}: it must be a number of at least 0; train it further");
        return Err(Error::data(stored.path(), problem));
    }
    // Keys in the scale of decoder norms are divided by what these are.
    let of_keys = match stored.config().describe().key {
        KeyScale::One => 1.0,
        KeyScale::DecoderNorm => scale.unwrap_or(1.0),
    };
    Ok((threshold / of_keys) as f32)
}

#[cfg(test)]
mod tests;
