//! The SAE of a checkpoint, read without the rest of the training state.

use std::path::Path;

use super::{Manifest, Reader};
use crate::data::Provenance;
use crate::error::Result;
use crate::sae::description::TensorSpec;
use crate::sae::{SaeConfig, Weights};

/// The weights of a checkpoint, read by tiles. Their checksums were verified when it was opened.
pub struct CheckpointWeights {
    reader: Reader,
}

impl CheckpointWeights {
    /// Opens the checkpoint in `path` and reads its weights once to verify them.
    ///
    /// # Errors
    /// Those of [`Reader::open`], and [`Error::Data`](crate::Error::Data) naming a tensor that is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let mut reader = Reader::open(path)?;
        for tensor in reader.manifest().sae.tensors() {
            reader.verify_tensor(tensor.name)?;
        }
        Ok(Self { reader })
    }

    /// The rest of the checkpoint.
    pub fn manifest(&self) -> &Manifest {
        self.reader.manifest()
    }
}

impl Weights for CheckpointWeights {
    fn config(&self) -> &SaeConfig {
        &self.manifest().sae
    }

    fn provenance(&self) -> &Provenance {
        &self.manifest().provenance
    }

    fn read(&self, tensor: &TensorSpec, first: usize, values: &mut [f32]) -> Result<()> {
        let [_, columns] = tensor.shape(self.config());
        let file = self.reader.file();
        file.read(&file.floats(tensor.name)?, (first * columns) as u64, values)
    }
}
