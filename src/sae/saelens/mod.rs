//! SAELens's layout: a directory with `cfg.json` and `sae_weights.safetensors` (as SAELens 6.54.12 writes it). Its
//! inference layout is written; that and its training layout are read.

mod config;
mod tensors;

use std::fs;
use std::path::{Path, PathBuf};

use super::description::TensorSpec;
use super::{Architecture, AsJumpRelu, JumpRelu, Sae, SaeConfig, Weights};
use crate::data::Provenance;
use crate::error::{Error, Result};
use crate::storage::replace_file;
use crate::storage::staging::Staging;
use crate::storage::tensor_file::TensorFile;
use config::Stored;
use tensors::{LOG_THRESHOLD, StoredWeights};

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
/// What a checkpoint of SAELens has beside it where the scale of the rows is not folded into its weights.
const SCALER: &str = "activation_scaler.json";

/// Saves an SAE as the new directory `dir`, all of it or nothing: it appears under its name only when it is on the
/// disk. SAEs of BatchTopK and Matryoshka are saved as [`AsJumpRelu`], which has their threshold.
///
/// # Errors
/// [`Error::Exists`] when `dir` exists, [`Error::Config`] when the sizes and weights do not make an SAE that [`load`]
/// would take; [`Error::Io`]; those of the weights. Nothing is left behind.
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
        let weights: &dyn Weights = logarithms.as_ref().map_or_else(|weights| *weights, |linear| linear);
        replace_file(&path.join(CONFIG), format!("{:#}\n", config::json(weights)?).as_bytes())?;
        tensors::write(weights, &path.join(WEIGHTS))?;
        self.staging.commit(&self.dir)
    }
}

/// Loads the SAE in `dir`, or in `dir/sae` when `dir` is a run directory.
///
/// # Errors
/// As [`open`], and [`Error::Data`] when a weight is not finite.
pub fn load(dir: &Path) -> Result<Sae> {
    Sae::read(&open(dir)?)
}

/// Opens the SAE in `dir`, or in `dir/sae` when `dir` is a run directory, and checks all but its values, which are
/// checked as they are read. What training with BatchTopK or Matryoshka left is opened as a JumpReLU SAE; a scale that
/// rows were multiplied by (`expected_average_only_in`) is folded into the weights.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Data`] when it is damaged, incomplete, or needs something that is not
/// supported: the message names it.
pub fn open(dir: &Path) -> Result<SaeFile> {
    fs::metadata(dir).map_err(Error::io(dir))?;
    let Some(dir) = find(dir) else {
        let problem = format!("has no {CONFIG}, here or in sae/; give the directory of an SAE or of a run");
        return Err(Error::data(dir, problem));
    };
    let Stored { mut config, provenance, trained_as, scale } = config::read(&dir)?;
    let file = TensorFile::open(&dir.join(WEIGHTS))?;
    if let Architecture::JumpRelu(jumprelu) = &config.architecture
        && file.names().contains(&LOG_THRESHOLD)
    {
        config.architecture = JumpRelu { log_threshold: true, ..jumprelu.clone() }.into();
    }
    let stored = StoredWeights::new(file, config, provenance, scale)?;
    let weights: Box<dyn Weights> = match stored.config().architecture {
        Architecture::BatchTopK(_) => {
            let threshold = stored.threshold()?;
            Box::new(AsJumpRelu::with_threshold(stored, threshold)?)
        }
        _ => match AsJumpRelu::of_logarithms(stored) {
            Ok(linear) => Box::new(linear),
            Err(stored) => Box::new(stored),
        },
    };
    Ok(SaeFile { weights, trained_as })
}

/// `dir`, or `dir/sae`, if there is an SAE in it.
fn find(dir: &Path) -> Option<PathBuf> {
    [dir.to_owned(), dir.join("sae")].into_iter().find(|dir| dir.join(CONFIG).is_file())
}

/// The file that holds the weights of the SAE that [`open`] finds at `dir`, if it finds one.
pub fn weights_file(dir: &Path) -> Option<PathBuf> {
    find(dir).map(|dir| dir.join(WEIGHTS))
}

/// An SAE in its files.
pub struct SaeFile {
    weights: Box<dyn Weights>,
    trained_as: String,
}

impl Weights for SaeFile {
    fn config(&self) -> &SaeConfig {
        self.weights.config()
    }

    fn provenance(&self) -> &Provenance {
        self.weights.provenance()
    }

    fn trained_as(&self) -> &str {
        &self.trained_as
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        self.weights.read(tensor, first, values)
    }
}

#[cfg(test)]
mod tests;
