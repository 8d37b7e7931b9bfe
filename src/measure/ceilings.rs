//! The peak rates of a device.

use super::Work;
use crate::error::Result;
use crate::gpu::shaders::ceilings::{self, Params, copy, multiply_add};
use crate::gpu::{EntryPoint, Gpu, Pipeline, Recording, Span, grid};

/// The kernels of `shaders/ceilings.wgsl`, which do nothing of use, as fast as they can.
pub struct CeilingKernels {
    copy: Pipeline<copy::Kernel>,
    multiply_add: Pipeline<multiply_add::Kernel>,
}

impl CeilingKernels {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { copy: gpu.pipeline(&[])?, multiply_add: gpu.pipeline(&[])? })
    }

    /// Copies `params.count` vectors.
    pub fn record_copy(&self, recording: &mut Recording, bindings: copy::Bindings<'_>) {
        let groups = grid(u64::from(bindings.params.count.div_ceil(ceilings::COPIED)));
        recording.dispatch(&self.copy, bindings, groups);
    }

    /// `params.rounds` of multiply-adds in so many workgroups.
    pub fn record_multiply_add(
        &self,
        recording: &mut Recording,
        bindings: multiply_add::Bindings<'_>,
        workgroups: u64,
    ) {
        recording.dispatch(&self.multiply_add, bindings, grid(workgroups));
    }
}

/// The most that a device reached in kernels that do nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Multiply-adds in registers, f32; each is two operations.
    pub flops_per_second: f64,
    /// A copy that no cache holds, bytes read and bytes written.
    pub bytes_per_second: f64,
}

/// The fastest of so many runs counts.
const RUNS: usize = 7;

impl Ceilings {
    /// Measures them.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where the device has no timestamps, [`crate::Error::OutOfMemory`].
    pub fn measure(gpu: &Gpu) -> Result<Self> {
        // More than caches hold; long enough to time, little enough to wait for.
        let (bytes, workgroups, rounds) =
            if gpu.description().takes_cpu_kernels() { (128 << 20, 64, 1024) } else { (512 << 20, 16_384, 1024) };
        let bytes: u64 = gpu.max_binding_bytes().min(bytes) / 1024 * 1024;
        let source = gpu.buffer("source", bytes / 4)?;
        let target_ = gpu.buffer("target", bytes / 4)?;
        let threads = workgroups * u64::from(multiply_add::Kernel::WORKGROUP[0]);
        let results = gpu.buffer("results", threads * 4)?;

        let kernels = CeilingKernels::new(gpu)?;
        let mut recording = Recording::default();
        let params = Params { count: (bytes / 16) as u32, rounds, factor: 0.999, addend: 0.001 };
        kernels.record_copy(&mut recording, copy::Bindings { source: &source, target_: &target_, params });
        kernels.record_multiply_add(&mut recording, multiply_add::Bindings { results: &results, params }, workgroups);
        let program = gpu.program(recording)?;
        let mut fastest = [f64::INFINITY; 2];
        for _ in 0..RUNS {
            let spans = gpu.profile(&program)?;
            for (fastest, span) in fastest.iter_mut().zip(&spans) {
                *fastest = fastest.min(Span::seconds(span));
            }
        }
        let flops = threads * u64::from(rounds) * u64::from(ceilings::SUMS * ceilings::STEPS) * 4 * 2;
        Ok(Self { flops_per_second: flops as f64 / fastest[1], bytes_per_second: 2.0 * bytes as f64 / fastest[0] })
    }

    /// Seconds below which so much work cannot be done; that of matrix units by its bytes alone.
    pub fn floor(&self, work: &Work) -> f64 {
        let flops = if work.on_matrix_units { 0 } else { work.flops };
        (flops as f64 / self.flops_per_second).max(work.bytes as f64 / self.bytes_per_second)
    }
}
