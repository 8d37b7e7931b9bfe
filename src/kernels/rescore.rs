//! The keys of the features in each row's best groups.

use super::groups_for;
use crate::error::Result;
use crate::gpu::shaders::rescore::{main, name_features};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernels of `shaders/rescore.wgsl`.
pub struct Rescore {
    main: Pipeline<main::Kernel>,
    name_features: Pipeline<name_features::Kernel>,
}

impl Rescore {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])?, name_features: gpu.pipeline(&[])? })
    }

    /// The candidates in one shard.
    pub fn record(&self, recording: &mut Recording, bindings: main::Bindings<'_>) {
        let params = bindings.params;
        let candidates = u64::from(params.rows) * u64::from(params.groups) * u64::from(params.group);
        recording.dispatch(&self.main, bindings, groups_for::<main::Kernel>(candidates));
    }

    /// Gives the codes, which name candidates, their features and values.
    pub fn record_names(&self, recording: &mut Recording, bindings: name_features::Bindings<'_>) {
        let entries = u64::from(bindings.params.rows) * u64::from(bindings.params.k);
        recording.dispatch(&self.name_features, bindings, groups_for::<name_features::Kernel>(entries));
    }
}
