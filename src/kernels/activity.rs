//! When each feature last fired, how often, and how many are dead.

use super::groups_for;
use crate::error::Result;
use crate::gpu::shaders::activity::{count_dead, record};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernels of `shaders/activity.wgsl`.
pub struct Activity {
    record: Pipeline<record::Kernel>,
    count_dead: Pipeline<count_dead::Kernel>,
}

impl Activity {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { record: gpu.pipeline(&[])?, count_dead: gpu.pipeline(&[])? })
    }

    /// The runs of one shard, of which there are at most `runs`.
    pub fn record(&self, recording: &mut Recording, bindings: record::Bindings<'_>, runs: u32) {
        recording.dispatch(&self.record, bindings, groups_for::<record::Kernel>(runs.into()));
    }

    /// Adds one shard's dead features to the count.
    pub fn record_dead(&self, recording: &mut Recording, bindings: count_dead::Bindings<'_>) {
        let groups = groups_for::<count_dead::Kernel>(bindings.params.count.into());
        recording.dispatch(&self.count_dead, bindings, groups);
    }
}
