//! The threshold of a trained SAE whose features were ranked over whole batches.

use crate::error::Result;
use crate::gpu::shaders::{Running, threshold};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot};

/// The weight of what came before in the running mean, a step later. The least key falls while an SAE is trained, so
/// that a mean over more than some ten steps is above it (docs/selection.md).
pub const DECAY: f64 = 0.9;

/// The running mean of the least key that each batch kept (SAELens's `topk_threshold`, dictionary_learning's
/// `threshold`, both with a longer memory and counted from 0 or -1).
pub struct Threshold {
    /// [`Running`].
    pub running: Buffer,
    kernel: Pipeline<threshold::main::Kernel>,
}

impl Threshold {
    /// Before the first step.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`], [`crate::Error::Shader`].
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let running = gpu.for_part("batch").buffer("running threshold", size_of::<Running>() as u64 / 4)?;
        Ok(Self { running, kernel: gpu.pipeline(&[])? })
    }

    /// Takes it a step further, by what the selection says of the batch.
    pub fn record(&self, recording: &mut Recording, least: &Buffer, guard: &Buffer) {
        let bindings = threshold::main::Bindings {
            least,
            running: &self.running,
            guard: Slot::from(guard),
            params: threshold::Params { decay: DECAY as f32, one_minus_decay: (1.0 - DECAY) as f32 },
        };
        recording.run(&self.kernel, bindings);
    }

    /// The mean; none before a step that kept a key.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`] or [`crate::Error::Device`] if the device fails.
    pub fn read(&self, gpu: &Gpu) -> Result<Option<f32>> {
        let running: Vec<Running> = gpu.read(&self.running)?;
        Ok(mean(running[0]))
    }
}

/// The mean of a [`Running`] one; none if nothing is in it.
pub fn mean(Running { sum, weight }: Running) -> Option<f32> {
    (weight > 0.0).then(|| (f64::from(sum) / f64::from(weight)) as f32)
}
