//! The SAE of a checkpoint, read without the rest of the training state.

use std::path::Path;

use super::{Manifest, Reader};
use crate::data::Provenance;
use crate::engine::state::RUNNING_THRESHOLD;
use crate::engine::threshold;
use crate::error::Result;
use crate::gpu::shaders::Running;
use crate::sae::description::{Inference, TensorSpec};
use crate::sae::{SaeConfig, Weights, as_trained};

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
        let sae = &reader.manifest().sae;
        let threshold = (sae.describe().inference == Inference::Threshold).then_some(RUNNING_THRESHOLD);
        let names: Vec<&str> = sae.tensors().iter().map(|tensor| tensor.name).chain(threshold).collect();
        for name in names {
            reader.verify_tensor(name)?;
        }
        Ok(Self { reader })
    }

    /// The SAE that they make, for rows as they are in the data.
    ///
    /// # Errors
    /// Those of reading them.
    pub fn as_trained(self) -> Result<Box<dyn Weights>> {
        let threshold = match self.config().describe().inference {
            Inference::Listed => None,
            Inference::Threshold => {
                let file = self.reader.file();
                let mut running = [0.0; 2];
                file.read(&file.floats(RUNNING_THRESHOLD)?, 0, &mut running)?;
                threshold::mean(Running { sum: running[0], weight: running[1] })
            }
        };
        let row_scale = self.manifest().recipe.row_scale;
        as_trained(self, threshold, row_scale)
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
