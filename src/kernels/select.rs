//! The k largest keys of each row, exactly, chunk by chunk.

use crate::error::Result;
use crate::gpu::shaders::select::main::{Bindings, Kernel};
use crate::gpu::{Gpu, Pipeline, Recording, grid};

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
    pub fn defines(k: u32) -> [(&'static str, u32); 3] {
        let workgroup = Self::workgroup(k);
        // Random rows have some 0.7 candidates a thread above the first bound, and few above any other.
        [("WORKGROUP", workgroup), ("SUM_THREADS", workgroup), ("CAPACITY", (4 * workgroup).min(768))]
    }

    /// Threads per row: about 2k, so that the k-th largest of their maxima is a tight bound; ranking them costs their
    /// square.
    fn workgroup(k: u32) -> u32 {
        (2 * k.min(128)).next_power_of_two().clamp(64, 256)
    }

    /// Merges one chunk; a row's chunks in ascending order of features.
    pub fn record(&self, recording: &mut Recording, bindings: Bindings<'_>) {
        let groups = grid(bindings.params.rows.into());
        recording.dispatch(&self.main, bindings, groups);
    }
}
