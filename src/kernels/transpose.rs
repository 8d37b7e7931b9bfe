//! The codes by feature: runs of entries of one feature, rows ascending.

use super::{BLOCK_FEATURES, Codes, groups_for};
use crate::error::Result;
use crate::gpu::shaders::transpose::{
    BLOCK_ENTRIES, Params, bounds, count_runs, histogram, load, scan, scatter, write_runs,
};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, grid};

/// The codes by feature, and the room to sort them in.
pub struct Runs {
    /// Feature of each run, ascending: `[runs]`.
    pub features: Buffer,
    /// Where each run begins in `entries`, and where the last one ends: `[runs + 1]`.
    pub starts: Buffer,
    /// Index into the codes (row · k + slot), by (feature, row): `[rows · k]`.
    pub entries: Buffer,
    /// The number of runs: `[1]`.
    pub count: Buffer,
    /// The first run of each block of 1,024 features, and the number of runs: `[feature blocks + 1]`.
    pub block_bounds: Buffer,
    keys: [Buffer; 2],
    other_entries: Buffer,
    counters: Buffer,
    total_features: u32,
    capacity: u32,
}

impl Runs {
    /// Room for the codes of a batch.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, rows: u32, k: u32, total_features: u32) -> Result<Self> {
        let entries = u64::from(rows) * u64::from(k);
        let runs = entries.min(total_features.into());
        let keys = || gpu.buffer("keys to sort", entries);
        Ok(Self {
            features: gpu.buffer("run features", runs)?,
            starts: gpu.buffer("run starts", runs + 1)?,
            entries: gpu.buffer("run entries", entries)?,
            count: gpu.buffer("run count", 1)?,
            block_bounds: gpu.buffer("block bounds", u64::from(total_features.div_ceil(BLOCK_FEATURES)) + 1)?,
            keys: [keys()?, keys()?],
            other_entries: gpu.buffer("entries to sort", entries)?,
            counters: gpu.buffer("sort counters", 256 * entries.div_ceil(BLOCK_ENTRIES.into()))?,
            total_features,
            capacity: runs as u32,
        })
    }

    /// The most runs that there can be.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}

/// The kernels of `shaders/transpose.wgsl`.
pub struct Transpose {
    load: Pipeline<load::Kernel>,
    histogram: Pipeline<histogram::Kernel>,
    scan: Pipeline<scan::Kernel>,
    scatter: Pipeline<scatter::Kernel>,
    count_runs: Pipeline<count_runs::Kernel>,
    write_runs: Pipeline<write_runs::Kernel>,
    bounds: Pipeline<bounds::Kernel>,
}

impl Transpose {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self {
            load: gpu.pipeline(&[])?,
            histogram: gpu.pipeline(&[])?,
            scan: gpu.pipeline(&[])?,
            scatter: gpu.pipeline(&[])?,
            count_runs: gpu.pipeline(&[])?,
            write_runs: gpu.pipeline(&[])?,
            bounds: gpu.pipeline(&[])?,
        })
    }

    /// Sorts the codes of `rows` rows by feature.
    pub fn record(&self, recording: &mut Recording, codes: &Codes, rows: u32, runs: &Runs) {
        let entries = rows * codes.k;
        let blocks = entries.div_ceil(BLOCK_ENTRIES);
        let sentinel = runs.total_features;
        let params = Params { entries, blocks, shift: 0, sentinel, length: 0 };
        let block_groups = grid(blocks.into());
        // The sorted entries must end up in `runs.entries`: the number of passes decides where they begin.
        let passes = (u32::BITS - sentinel.leading_zeros()).div_ceil(8);
        let sides = [(&runs.keys[0], &runs.entries), (&runs.keys[1], &runs.other_entries)];
        let mut side = (passes % 2) as usize;

        let (keys_out, entries_out) = sides[side];
        let bindings =
            load::Bindings { features: &codes.features, values: &codes.values, keys_out, entries_out, params };
        recording.dispatch(&self.load, bindings, groups_for::<load::Kernel>(entries.into()));

        for pass in 0..passes {
            let params = Params { shift: 8 * pass, length: 256 * blocks, ..params };
            let ((keys_in, entries_in), (keys_out, entries_out)) = (sides[side], sides[1 - side]);
            let counters = &runs.counters;
            recording.dispatch(&self.histogram, histogram::Bindings { keys_in, counters, params }, block_groups);
            self.record_scan(recording, runs, params);
            let bindings = scatter::Bindings { keys_in, entries_in, keys_out, entries_out, counters, params };
            recording.dispatch(&self.scatter, bindings, block_groups);
            side = 1 - side;
        }

        let params = Params { length: blocks, ..params };
        let (keys_in, counters) = (sides[side].0, &runs.counters);
        recording.dispatch(&self.count_runs, count_runs::Bindings { keys_in, counters, params }, block_groups);
        self.record_scan(recording, runs, params);
        let (run_features, run_starts) = (&runs.features, &runs.starts);
        let bindings = write_runs::Bindings { keys_in, counters, run_features, run_starts, params };
        recording.dispatch(&self.write_runs, bindings, block_groups);

        let length = sentinel.div_ceil(BLOCK_FEATURES) + 1;
        let params = Params { length, ..params };
        let (run_count, block_bounds) = (&runs.count, &runs.block_bounds);
        let bindings = bounds::Bindings { run_features, run_count, block_bounds, params };
        recording.dispatch(&self.bounds, bindings, groups_for::<bounds::Kernel>(length.into()));
    }

    fn record_scan(&self, recording: &mut Recording, runs: &Runs, params: Params) {
        let bindings = scan::Bindings { counters: &runs.counters, run_count: &runs.count, params };
        recording.dispatch(&self.scan, bindings, [1, 1, 1]);
    }
}
