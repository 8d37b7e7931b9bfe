//! A stable radix sort of pairs by their first number, 8 bits per pass: the passes of `shaders/sort.wgsl` between those
//! that make the pairs and those that look at them.

use crate::error::Result;
use crate::gpu::shaders::sort::{Params, digits, histogram, offsets, scatter};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot, grid};

/// Pairs to sort, and what sorting them takes.
pub struct Pairs {
    buffers: [Buffer; 2],
    counters: Buffer,
    bases: Buffer,
    passes: usize,
}

impl Pairs {
    /// Room for `capacity` pairs whose first numbers are `largest` at most, for `shares` workgroups.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, shares: u32, capacity: u32, largest: u32) -> Result<Self> {
        let pairs = || gpu.buffer("pairs to sort", 2 * u64::from(capacity));
        Ok(Self {
            buffers: [pairs()?, pairs()?],
            counters: gpu.buffer("sort counters", 256 * u64::from(shares))?,
            bases: gpu.buffer("sort counters", 256)?,
            passes: (u32::BITS - largest.leading_zeros()).div_ceil(8) as usize,
        })
    }

    /// The pairs as they come.
    pub fn unsorted(&self) -> &Buffer {
        &self.buffers[0]
    }

    /// The pairs once they are sorted.
    pub fn sorted(&self) -> &Buffer {
        &self.buffers[self.passes % 2]
    }

    /// All that a sort writes.
    pub fn written(&self) -> [&Buffer; 4] {
        let Self { buffers: [first, second], counters, bases, .. } = self;
        [first, second, counters, bases]
    }
}

/// Workgroups that share a sort, a power of two so that few variants are compiled.
pub fn shares(gpu: &Gpu) -> u32 {
    if gpu.description().takes_cpu_kernels() {
        return 16;
    }
    // Their counters are one binding.
    let fitting = (gpu.max_binding_bytes() / (256 * 4)).clamp(1, 256);
    1 << fitting.ilog2()
}

/// The kernels of the passes.
pub struct RadixSort {
    histogram: Pipeline<histogram::Kernel>,
    digits: Pipeline<digits::Kernel>,
    offsets: Pipeline<offsets::Kernel>,
    scatter: Pipeline<scatter::Kernel>,
    shares: u32,
}

impl RadixSort {
    /// Compiles them for `shares` workgroups.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu, shares: u32) -> Result<Self> {
        let defines = [("SHARES", shares)];
        Ok(Self {
            histogram: gpu.pipeline(&defines)?,
            digits: gpu.pipeline(&defines)?,
            offsets: gpu.pipeline(&defines)?,
            scatter: gpu.pipeline(&defines)?,
            shares,
        })
    }

    /// Sorts as many pairs as `counts` says, of two lists in all.
    pub fn record(&self, recording: &mut Recording, pairs: &Pairs, counts: Slot<'_>) {
        let Pairs { buffers, counters, bases, passes } = pairs;
        let groups = grid(self.shares.into());
        for pass in 0..*passes {
            let params = Params { shift: 8 * pass as u32, ..Params::default() };
            let (pairs_in, pairs_out) = (&buffers[pass % 2], &buffers[(pass + 1) % 2]);
            recording.dispatch(&self.histogram, histogram::Bindings { pairs_in, counters, counts, params }, groups);
            recording.dispatch(&self.digits, digits::Bindings { counters, bases }, [256, 1, 1]);
            recording.dispatch(&self.offsets, offsets::Bindings { bases }, [1, 1, 1]);
            let bindings = scatter::Bindings { pairs_in, pairs_out, counters, bases, counts, params };
            recording.dispatch(&self.scatter, bindings, groups);
        }
    }
}
