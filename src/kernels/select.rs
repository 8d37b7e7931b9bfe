//! The k largest keys of each row, exactly, chunk by chunk.

use super::Codes;
use crate::error::Result;
use crate::gpu::shaders::select::Params;
use crate::gpu::shaders::select::main::{Bindings, Kernel};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, grid};

/// The kernel of `shaders/select.wgsl`, for one k.
pub struct Select {
    main: Pipeline<Kernel>,
}

impl Select {
    /// Compiles it.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses it.
    pub fn new(gpu: &Gpu, k: u32) -> Result<Self> {
        Ok(Self { main: gpu.pipeline(&Self::defines(k))? })
    }

    /// The definitions of `shaders/select.wgsl` for a k.
    pub fn defines(k: u32) -> [(&'static str, u32); 1] {
        [("WORKGROUP", Self::workgroup(k))]
    }

    /// Threads a row: about 2k, so that the k-th largest of their maxima is a tight bound; ranking them costs their square.
    fn workgroup(k: u32) -> u32 {
        (2 * k.min(128)).next_power_of_two().clamp(64, 256)
    }

    /// Merges one chunk; a row's chunks in ascending order of features. `columns` is set here.
    pub fn record(&self, recording: &mut Recording, mut bindings: Bindings<'_>) {
        let groups = grid(bindings.params.rows.into());
        bindings.params.columns = groups[0];
        recording.dispatch(&self.main, bindings, groups);
    }

    /// As [`Select::record`], into `codes`.
    pub fn record_keys(
        &self,
        recording: &mut Recording,
        pre_activations: &Buffer,
        norms: &Buffer,
        codes: &Codes,
        params: Params,
    ) {
        let Codes { features, values, keys, .. } = codes;
        self.record(recording, Bindings { pre_activations, norms, features, values, keys, params });
    }
}
