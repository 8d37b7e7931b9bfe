//! The entries of a step by feature: sorted pairs, their runs, and the runs of ranges of features.

use std::ops::Range;

use super::radix::{Pairs, RadixSort, shares};
use crate::error::Result;
use crate::gpu::shaders::runs::{self, bound, range, scan, write};
use crate::gpu::shaders::sort::{self, load};
use crate::gpu::{Buffer, Gpu, Pipeline, Recording, Slot, UNIFORM_STRIDE, grid};

/// Features of a block of [`Sorted::bounds`].
const BOUND_FEATURES: u32 = 64;

/// The entries of a batch by feature.
pub struct Sorted {
    /// `[runs + 1]` (feature, first pair), then (number of features, end).
    pub runs: Buffer,
    /// The first run of each 64 features, `[features / 64 + 1]`.
    pub bounds: Buffer,
    pairs: Pairs,
    heads: Buffer,
    totals: Buffer,
    feature_ranges: Buffer,
    ranges: Buffer,
    shares: u32,
    features: u32,
    range_count: u32,
    capacity: u32,
    hot_slots: u32,
}

impl Sorted {
    /// Room for `capacity` entries of a model of `features`, whose runs are wanted by `ranges`, and at most `hot_slots`
    /// of which are hot.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu, capacity: u32, features: u32, ranges: &[Range<u32>], hot_slots: u32) -> Result<Self> {
        Self::with_shares(gpu, shares(gpu), capacity, features, ranges, hot_slots)
    }

    /// The same for a [`Sort::with_shares`] of as many.
    pub(crate) fn with_shares(
        gpu: &Gpu,
        shares: u32,
        capacity: u32,
        features: u32,
        ranges: &[Range<u32>],
        hot_slots: u32,
    ) -> Result<Self> {
        let runs = u64::from(capacity.min(features)) + 1;
        let feature_ranges: Vec<[u32; 2]> = ranges.iter().map(|range| [range.start, range.end]).collect();
        Ok(Self {
            runs: gpu.buffer("runs", 2 * runs)?,
            bounds: gpu.buffer("bounds of runs", u64::from(features.div_ceil(BOUND_FEATURES)) + 1)?,
            // As many features as there are is the number of what sorts last.
            pairs: Pairs::new(gpu, shares, capacity, features)?,
            heads: gpu.buffer("sort counters", shares.into())?,
            totals: gpu.buffer("number of runs", 2)?,
            feature_ranges: gpu.buffer_from("ranges of features", &feature_ranges)?,
            ranges: gpu.buffer("ranges of runs", UNIFORM_STRIDE / 4 * ranges.len() as u64)?,
            shares,
            features,
            range_count: ranges.len() as u32,
            capacity,
            hot_slots,
        })
    }

    /// The runs of the `number`th range.
    pub fn range(&self, number: usize) -> Slot<'_> {
        Slot { buffer: &self.ranges, offset: UNIFORM_STRIDE * number as u64 }
    }

    /// The sorted pairs (feature, entry).
    pub fn pairs(&self) -> &Buffer {
        self.pairs.sorted()
    }

    /// The number of runs, and of entries in them.
    pub(crate) fn totals(&self) -> &Buffer {
        &self.totals
    }

    /// All that a sort writes.
    pub(crate) fn written(&self) -> [&Buffer; 9] {
        let Self { runs, bounds, pairs, heads, totals, ranges, .. } = self;
        let [first, second, counters, bases] = pairs.written();
        [runs, bounds, first, second, counters, bases, heads, totals, ranges]
    }

    /// The most entries.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}

/// The kernels of `shaders/sort.wgsl` and `shaders/runs.wgsl`.
pub struct Sort {
    load: Pipeline<load::Kernel>,
    radix: RadixSort,
    count: Pipeline<runs::count::Kernel>,
    scan: Pipeline<scan::Kernel>,
    write: Pipeline<write::Kernel>,
    bound: Pipeline<bound::Kernel>,
    range: Pipeline<range::Kernel>,
}

impl Sort {
    /// Compiles them.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] if the device refuses one.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Self::with_shares(gpu, shares(gpu))
    }

    /// Compiles them for `shares` workgroups.
    pub(crate) fn with_shares(gpu: &Gpu, shares: u32) -> Result<Self> {
        let defines = [("SHARES", shares)];
        Ok(Self {
            load: gpu.pipeline(&defines)?,
            radix: RadixSort::new(gpu, shares)?,
            count: gpu.pipeline(&defines)?,
            scan: gpu.pipeline(&defines)?,
            write: gpu.pipeline(&defines)?,
            bound: gpu.pipeline(&defines)?,
            range: gpu.pipeline(&defines)?,
        })
    }

    /// Sorts the entries of all lists, of which list 1 begins at `second`, and finds their runs.
    pub fn record(&self, recording: &mut Recording, entries: &Buffer, counts: &Buffer, second: u32, sorted: &Sorted) {
        let Sorted { runs, bounds, heads, totals, feature_ranges, ranges, .. } = sorted;
        let counts = Slot::from(counts);
        let sentinel = sorted.features;
        let params = sort::Params { second, shift: 0, sentinel };
        let groups = grid(sorted.shares.into());
        let pairs_out = sorted.pairs.unsorted();
        recording.dispatch(&self.load, load::Bindings { entries, pairs_out, counts, params }, groups);
        self.radix.record(recording, &sorted.pairs, counts);

        let pairs = sorted.pairs();
        let blocks = sorted.features.div_ceil(BOUND_FEATURES);
        let params = runs::Params { sentinel, blocks, ranges: sorted.range_count, hot_slots: sorted.hot_slots };
        recording.dispatch(&self.count, runs::count::Bindings { pairs, heads, counts, params }, groups);
        recording.dispatch(&self.scan, scan::Bindings { heads, totals }, [1, 1, 1]);
        recording.dispatch(&self.write, write::Bindings { pairs, heads, runs, totals, counts, params }, groups);
        recording.run(&self.bound, bound::Bindings { runs, bounds, totals, params });
        recording.run(&self.range, range::Bindings { runs, totals, feature_ranges, ranges, params });
    }
}
