//! The SAE of a checkpoint, read without the rest of the training state.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::{MANIFEST, Manifest, STATE};
use crate::data::Provenance;
use crate::data::safetensors::TensorFile;
use crate::error::{Error, Result};
use crate::sae::{SaeConfig, Tensor, Weights};

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 8 << 20;

/// The weights of a checkpoint, read by tiles. Their checksums were verified when it was opened.
pub struct CheckpointWeights {
    manifest: Manifest,
    file: TensorFile,
}

impl CheckpointWeights {
    /// Opens the checkpoint in `path` and reads its weights once to verify them.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Data`] naming what is damaged, [`Error::Config`] for a checkpoint of another format.
    pub fn open(path: &Path) -> Result<Self> {
        let manifest = Manifest::read(path)?;
        manifest.sae.validate().map_err(|error| Error::data(path.join(MANIFEST), error.to_string()))?;
        let file = TensorFile::open(&path.join(STATE))?;
        let weights = Self { manifest, file };
        for tensor in [Tensor::WEnc, Tensor::WDec, Tensor::BEnc, Tensor::BDec] {
            weights.verify(tensor)?;
        }
        Ok(weights)
    }

    /// Steps of training behind the weights.
    pub fn step(&self) -> u64 {
        self.manifest.step
    }

    /// Checks the shape and the checksum of a tensor.
    fn verify(&self, tensor: Tensor) -> Result<()> {
        let (name, shape) = (tensor.name(), tensor.shape(&self.manifest.sae));
        let damaged = |problem: String| Err(Error::data(self.file.path(), problem));
        let place = match self.file.place(name) {
            Some((safetensors::Dtype::F32, found, place)) if found == shape => place,
            _ => return damaged(format!("has no tensor {name} of F32 {shape:?}; use another checkpoint")),
        };
        let mut hash = Xxh3::new();
        let mut bytes = Vec::new();
        for start in place.clone().step_by(CHUNK_BYTES as usize) {
            bytes.resize((place.end - start).min(CHUNK_BYTES) as usize, 0);
            self.file.read_raw(name, start, &mut bytes)?;
            hash.update(&bytes);
        }
        let found = format!("{:016x}", hash.digest());
        match self.manifest.checksums.iter().find(|(known, _)| known == name) {
            Some((_, expected)) if *expected == found => Ok(()),
            Some(_) => damaged(format!(
                "tensor {name} is damaged: its checksum is not that of {MANIFEST}; use another checkpoint"
            )),
            None => damaged(format!("{MANIFEST} beside it has no checksum of {name}; use another checkpoint")),
        }
    }
}

impl Weights for CheckpointWeights {
    fn config(&self) -> &SaeConfig {
        &self.manifest.sae
    }

    fn provenance(&self) -> &Provenance {
        &self.manifest.provenance
    }

    fn read(&self, tensor: Tensor, first: usize, values: &mut [f32]) -> Result<()> {
        let [_, columns] = tensor.shape(&self.manifest.sae);
        self.file.read(&self.file.floats(tensor.name())?, (first * columns) as u64, values)
    }
}
