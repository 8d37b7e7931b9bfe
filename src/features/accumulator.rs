//! One pass over codes: what is summed and kept of each feature of a range, by several threads.

use std::ops::Range;
use std::thread;

use super::candidates::{Active, Candidates, Chosen, ExampleCounts};
use super::dimensions::{BestDimension, DimensionSums, Dimensions};
use super::facts::BatchFacts;
use super::statistics::Statistics;
use super::top_tokens::{TokenSum, TopTokens};
use crate::apply::HostCodes;
use crate::error::{Divergence, Error, Result};
use crate::rng::{Purpose, Rng};

/// Tokens that are told of each feature.
const TOP_TOKENS: usize = 10;

/// What is accumulated.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Examples.
    pub counts: ExampleCounts,
    /// Seed of the random examples.
    pub seed: u64,
    /// Values per row, if features are correlated with them.
    pub dimensions: Option<usize>,
}

impl Plan {
    /// Bytes that a feature takes at most, but 8 for each source.
    pub fn feature_bytes(self) -> usize {
        size_of::<Record>() + self.counts.heap_bytes() + TopTokens::HEAP_BYTES + 4 * self.dimensions.unwrap_or(0)
    }
}

/// What was found of a feature.
#[derive(Clone, Debug)]
pub struct Found {
    /// Sums.
    pub statistics: Statistics,
    /// Examples, by interval.
    pub chosen: Vec<Chosen>,
    /// The tokens with the largest sums.
    pub tokens: Vec<TokenSum>,
    /// The best dimension, if it was asked for.
    pub best: Option<BestDimension>,
}

/// What is accumulated of a range of features.
pub struct Accumulator {
    plan: Plan,
    shards: Vec<Shard>,
    rows: u64,
}

#[derive(Clone, Default)]
struct Record {
    statistics: Statistics,
    candidates: Candidates,
    tokens: TopTokens,
}

/// Every so many of the range's features: neighbours may be unlike in how often they fire.
struct Shard {
    features: Range<usize>,
    step: usize,
    rng: Rng,
    records: Vec<Record>,
    /// Sums of activation times value, `[records, d]`.
    products: Vec<f32>,
    sums: DimensionSums,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    record: u32,
    row: u32,
    value: f32,
}

impl Accumulator {
    /// Of these features.
    pub fn new(features: Range<usize>, plan: Plan) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(features.len().max(1));
        let d = plan.dimensions.unwrap_or(0);
        let shard = |number: usize| {
            let features = features.start + number..features.end;
            let count = features.len().div_ceil(threads);
            Shard {
                features,
                step: threads,
                rng: Rng::new(plan.seed, Purpose::Examples),
                records: vec![Record::default(); count],
                products: vec![0.0; count * d],
                sums: DimensionSums::new(number * d / threads..(number + 1) * d / threads),
                entries: Vec::new(),
            }
        };
        Self { plan, shards: (0..threads).map(shard).collect(), rows: 0 }
    }

    /// Rows that were added.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds the codes of a batch, later than those before.
    ///
    /// # Errors
    /// [`Error::Diverged`] for a code that is not finite, naming its row in the batch.
    pub fn add(&mut self, codes: &HostCodes, facts: &BatchFacts) -> Result<()> {
        if let Some(at) = codes.values.iter().position(|value| !value.is_finite()) {
            let row = codes.starts.partition_point(|start| *start <= at) - 1;
            let what = Divergence::CodeNotFinite;
            return Err(Error::Diverged { step: None, row: Some(row as u64), file: None, what });
        }
        let plan = self.plan;
        thread::scope(|scope| {
            for shard in &mut self.shards {
                scope.spawn(move || shard.add(codes, facts, plan));
            }
        });
        self.rows += codes.starts.len() as u64 - 1;
        Ok(())
    }

    /// What was found, by feature.
    pub fn finish(self) -> Vec<Found> {
        let Self { plan, shards, rows } = self;
        let dimensions = Dimensions::new(shards.iter().map(|shard| &shard.sums), rows);
        let found: Vec<Vec<Found>> = thread::scope(|scope| {
            let dimensions = &dimensions;
            let threads: Vec<_> =
                shards.into_iter().map(|shard| scope.spawn(move || shard.finish(dimensions, plan))).collect();
            // A panic of a thread is one of this thread.
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        let count = found.iter().map(Vec::len).sum();
        let mut shards: Vec<_> = found.into_iter().map(Vec::into_iter).collect();
        let step = shards.len();
        (0..count).filter_map(|feature| shards[feature % step].next()).collect()
    }
}

impl Shard {
    fn add(&mut self, codes: &HostCodes, facts: &BatchFacts, plan: Plan) {
        let mut entries = std::mem::take(&mut self.entries);
        self.find(codes, &mut entries);
        // Stable, so that the rows of each feature stay in order.
        entries.sort_by_key(|entry| entry.record);
        for of_feature in entries.chunk_by(|a, b| a.record == b.record) {
            self.add_entries(of_feature, facts, plan);
        }
        entries.clear();
        self.entries = entries;
        if let Some(d) = plan.dimensions {
            self.sums.add(&facts.shifted, d);
        }
    }

    /// The active entries of this shard's features.
    fn find(&self, codes: &HostCodes, entries: &mut Vec<Entry>) {
        for (row, ends) in codes.starts.windows(2).enumerate() {
            let listed = codes.features[ends[0]..ends[1]].iter().zip(&codes.values[ends[0]..ends[1]]);
            for (&feature, &value) in listed.filter(|(_, value)| **value > 0.0) {
                let feature = feature as usize;
                if self.features.contains(&feature) && (feature - self.features.start).is_multiple_of(self.step) {
                    let record = ((feature - self.features.start) / self.step) as u32;
                    entries.push(Entry { record, row: row as u32, value });
                }
            }
        }
    }

    /// Adds the entries of one feature.
    fn add_entries(&mut self, entries: &[Entry], facts: &BatchFacts, plan: Plan) {
        let Some(number) = entries.first().map(|entry| entry.record as usize) else { return };
        let feature = (self.features.start + number * self.step) as u32;
        let Record { statistics, candidates, tokens } = &mut self.records[number];
        for &Entry { row, value, .. } in entries {
            let at = row as usize;
            let row = facts.numbers[at];
            statistics.add(value, facts.sources.as_ref().and_then(|sources| sources[at]));
            candidates.add(Active { row, value }, plan.counts, || {
                let [low, high, ..] = self.rng.block(row, feature);
                u64::from(high) << 32 | u64::from(low)
            });
            if let Some(ids) = &facts.tokens {
                tokens.add(ids[at], value);
            }
        }
        if let Some(d) = plan.dimensions {
            let products = &mut self.products[number * d..][..d];
            for &Entry { row, value, .. } in entries {
                let values = &facts.shifted[row as usize * d..][..d];
                products.iter_mut().zip(values).for_each(|(product, x)| *product += value * x);
            }
        }
    }

    fn finish(self, dimensions: &Dimensions, plan: Plan) -> Vec<Found> {
        let Self { records, products, .. } = self;
        let found = records.into_iter().enumerate().map(|(number, Record { statistics, candidates, tokens })| {
            let best = plan.dimensions.map(|d| dimensions.best(&products[number * d..][..d], &statistics));
            Found { chosen: candidates.choose(plan.counts), tokens: tokens.largest(TOP_TOKENS), best, statistics }
        });
        found.collect()
    }
}
