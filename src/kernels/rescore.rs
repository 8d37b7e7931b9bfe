//! The keys of the features in each row's best groups.

use super::groups_for;
use crate::error::Result;
use crate::gpu::shaders::rescore::{main, write_codes};
use crate::gpu::{Gpu, Pipeline, Recording};

/// The kernels of `shaders/rescore.wgsl`.
pub struct Rescore {
    main: Pipeline<main::Kernel>,
    write_codes: Pipeline<write_codes::Kernel>,
}

impl Rescore {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&[])?, write_codes: gpu.pipeline(&[])? })
    }

    /// The candidates in one shard.
    pub fn record(&self, recording: &mut Recording, bindings: main::Bindings<'_>) {
        let params = bindings.params;
        let candidates = u64::from(params.rows) * u64::from(params.groups) * u64::from(params.group);
        recording.dispatch(&self.main, bindings, groups_for::<main::Kernel>(candidates));
    }

    /// Gives the codes, whose features are numbers of candidates, their features and rectified values.
    pub fn record_codes(&self, recording: &mut Recording, bindings: write_codes::Bindings<'_>) {
        let entries = u64::from(bindings.params.rows) * u64::from(bindings.params.k);
        recording.dispatch(&self.write_codes, bindings, groups_for::<write_codes::Kernel>(entries));
    }
}
