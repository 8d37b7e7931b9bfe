//! Directories that hold an SAE, in whichever layout.

use std::fs;
use std::path::{Path, PathBuf};

use super::description::TensorSpec;
use super::{Sae, SaeConfig, Weights, gemma_scope, saelens, sparsify};
use crate::data::Provenance;
use crate::error::{Error, Result};

/// Loads the SAE in `dir`, or in `dir/sae` when `dir` is a run directory.
///
/// # Errors
/// As [`open`], and [`Error::Data`] when a weight is not finite.
pub fn load(dir: &Path) -> Result<Sae> {
    Sae::read(&open(dir)?)
}

/// Opens the SAE in `dir`, or in `dir/sae` when `dir` is a run directory, and checks all but its values, which are
/// checked as they are read. It is in the layout of:
/// - SAELens, of which what training with BatchTopK or Matryoshka left is opened as a JumpReLU SAE, and a scale that
///   rows were multiplied by (`expected_average_only_in`) is folded into the weights;
/// - sparsify: `cfg.json` and `sae.safetensors`;
/// - Gemma Scope 2: `params.safetensors`.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Data`] when it is damaged, incomplete, or needs something that is not
/// supported: the message names it.
pub fn open(dir: &Path) -> Result<SaeFile> {
    fs::metadata(dir).map_err(Error::io(dir))?;
    let Some(dir) = find(dir) else {
        let problem = format!("has no {}, here or in sae/; give the directory of an SAE or of a run", saelens::CONFIG);
        return Err(Error::data(dir, problem));
    };
    match Layout::of(&dir) {
        Some(Layout::Sparsify) => sparsify::open(&dir),
        Some(Layout::GemmaScope) => gemma_scope::open(&dir),
        Some(Layout::SaeLens) | None => saelens::open(&dir),
    }
}

/// Who writes such directories.
#[derive(Clone, Copy)]
enum Layout {
    SaeLens,
    Sparsify,
    GemmaScope,
}

impl Layout {
    /// That of the SAE in a directory, if there is one.
    fn of(dir: &Path) -> Option<Self> {
        let has = |name: &str| dir.join(name).is_file();
        if has(saelens::CONFIG) {
            let is_sparsify = has(sparsify::WEIGHTS) && !has(saelens::WEIGHTS);
            return Some(if is_sparsify { Self::Sparsify } else { Self::SaeLens });
        }
        has(gemma_scope::WEIGHTS).then_some(Self::GemmaScope)
    }

    fn weights(self) -> &'static str {
        match self {
            Self::SaeLens => saelens::WEIGHTS,
            Self::Sparsify => sparsify::WEIGHTS,
            Self::GemmaScope => gemma_scope::WEIGHTS,
        }
    }
}

/// `dir`, or `dir/sae`, if there is an SAE in it.
fn find(dir: &Path) -> Option<PathBuf> {
    [dir.to_owned(), dir.join("sae")].into_iter().find(|dir| Layout::of(dir).is_some())
}

/// The file that holds the weights of the SAE that [`open`] finds at `dir`, if it finds one.
pub fn weights_file(dir: &Path) -> Option<PathBuf> {
    let dir = find(dir)?;
    Layout::of(&dir).map(|layout| dir.join(layout.weights()))
}

/// An SAE in its files.
pub struct SaeFile {
    pub(super) weights: Box<dyn Weights>,
    /// SAELens's name of the architecture that it was trained as.
    pub(super) trained_as: String,
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
