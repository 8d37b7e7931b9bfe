//! The passes that a set of features is made by.

use std::collections::VecDeque;
use std::ops::Range;

use serde_json::Value;

use super::accumulator::{Accumulator, Found, Plan};
use super::candidates::ExampleCounts;
use super::contexts::{Context, ContextFinder, Focus, encode_contexts};
use super::describe::describe;
use super::facts::{MAX_SOURCES, RowFacts};
use super::kept_codes::KeptCodes;
use super::lines::Lines;
use super::set::{Description, NewFeatureSet};
use super::token_texts;
use super::vocabulary::Vocabulary;
use super::weights::measure_weights;
use crate::apply::{Encoder, blame_row};
use crate::data::{Batches, FilteredRows, RowIntegers};
use crate::error::{Error, Result};
use crate::sae::Weights;
use crate::units::readable_bytes;

/// How features are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureOptions {
    /// Examples.
    pub counts: ExampleCounts,
    /// Tokens before an example at most.
    pub before: usize,
    /// Tokens behind it at most.
    pub after: usize,
    /// Seed of the random examples.
    pub seed: u64,
    /// Whether to find the input dimension that each feature correlates with best.
    pub best_dimension: bool,
    /// Bytes of host memory for what is accumulated, beside batches: what needs more takes several passes.
    pub memory: u64,
}

impl FeatureOptions {
    /// Checks that the numbers can be used.
    ///
    /// # Errors
    /// [`Error::Config`] for no examples, more than 4,096 of an interval, more than 64 intervals, and more than 4,096
    /// tokens before or behind.
    pub fn validate(&self) -> Result<()> {
        let ExampleCounts { per_interval, intervals } = self.counts;
        let sizes = [
            ("examples of an interval", per_interval, 1, 4096),
            ("intervals", intervals, 1, 64),
            ("tokens before an example", self.before, 0, 4096),
            ("tokens behind an example", self.after, 0, 4096),
        ];
        match sizes.into_iter().find(|(_, size, least, most)| !(least..=most).contains(&size)) {
            Some((what, size, least, most)) => Err(Error::Config(format!("{size} {what}: give {least} to {most}"))),
            None => Ok(()),
        }
    }
}

/// What is applied to what.
pub struct FeatureJob<'a> {
    /// The SAE.
    pub weights: &'a dyn Weights,
    /// The rows that are counted.
    pub rows: &'a FilteredRows,
    /// The text of tokens.
    pub vocabulary: Option<&'a Vocabulary>,
    /// Rows of a batch.
    pub batch: usize,
    /// How.
    pub options: FeatureOptions,
    /// What the directory says of the SAE and of the data.
    pub about: [Value; 2],
    /// What is in the directory already, by the decoder alone.
    pub of_decoder: DecoderParts,
}

/// Files of the directory that no rows are needed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderParts {
    /// `neighbors.safetensors`.
    pub neighbors: bool,
    /// `logits.safetensors`.
    pub logits: bool,
}

/// Which part of the work is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureWork {
    /// Rows are encoded and counted.
    Counting,
    /// Rows around examples are encoded.
    Contexts,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureProgress {
    /// The part.
    pub work: FeatureWork,
    /// Its number among those of its kind, from 1 on.
    pub pass: usize,
    /// Rows that it has done.
    pub rows: u64,
    /// All its rows.
    pub of: u64,
}

/// What was found, in numbers.
#[derive(Clone, Debug)]
pub struct FeatureSummary {
    /// Features that were active on some row.
    pub alive: u64,
    /// Examples of all features.
    pub examples: u64,
    /// Passes over all rows.
    pub passes: usize,
    /// What the directory says of itself.
    pub description: Description,
}

/// Writes what the features of an SAE respond to. The encoder is that of the job's SAE, for the job's batch. `advance`
/// is told of every batch; when it returns false, nothing is left behind, and there is no summary.
///
/// # Errors
/// [`Error::Config`] for too little memory, and as [`FeatureOptions::validate`]; [`Error::Data`] for labels of rows that
/// cannot be used; [`Error::Diverged`] for rows that are too large; [`Error::Exists`] and [`Error::Io`]; those of the
/// device.
pub fn write_features(
    job: &FeatureJob<'_>,
    encoder: &mut Encoder,
    set: NewFeatureSet,
    mut advance: impl FnMut(FeatureProgress) -> bool,
) -> Result<Option<FeatureSummary>> {
    let mut work = Work::new(job, encoder, set)?;
    let features = job.weights.config().features;
    let per_pass = work.features_per_pass()?;
    let ranges: Vec<Range<usize>> =
        (0..features).step_by(per_pass).map(|first| first..features.min(first + per_pass)).collect();
    let (mut alive, mut examples) = (0, 0);
    for (pass, range) in (1..).zip(&ranges) {
        let counted = work.count(range.clone(), &mut |rows| {
            advance(FeatureProgress { work: FeatureWork::Counting, pass, rows, of: job.rows.rows() })
        })?;
        let Some(found) = counted else { return Ok(None) };
        if pass == 1 {
            let sources = work.facts.source_names().len();
            work.set.begin_statistics(features, sources, job.options.best_dimension)?;
        }
        work.set.write_statistics(range.start, &found, &measure_weights(job.weights, range.clone())?)?;
        alive += found.iter().filter(|found| found.statistics.count > 0).count() as u64;
        examples += found.iter().map(|found| found.chosen.len() as u64).sum::<u64>();
        let written = work.write_examples(range.start, &found, &mut |rows, of| {
            advance(FeatureProgress { work: FeatureWork::Contexts, pass, rows, of })
        })?;
        if !written {
            return Ok(None);
        }
    }
    if let (true, Some(vocabulary)) = (job.of_decoder.logits, job.vocabulary) {
        token_texts::write(work.set.path(), features, vocabulary)?;
    }
    let description = describe(job, &work.facts, work.contexts.is_some());
    work.set.finish(&description)?;
    Ok(Some(FeatureSummary { alive, examples, passes: ranges.len(), description }))
}

/// A set being written.
struct Work<'a> {
    job: &'a FeatureJob<'a>,
    encoder: &'a mut Encoder,
    set: NewFeatureSet,
    plan: Plan,
    facts: RowFacts,
    contexts: Option<ContextFinder>,
    kept: KeptCodes,
}

impl<'a> Work<'a> {
    fn new(job: &'a FeatureJob<'a>, encoder: &'a mut Encoder, set: NewFeatureSet) -> Result<Self> {
        let FeatureOptions { counts, seed, best_dimension, before, after, .. } = job.options;
        job.options.validate()?;
        let data = job.rows.data();
        let sequences = RowIntegers::open_sequences(data.clone())?;
        let positions = RowIntegers::open(data.clone(), "position");
        let contexts = sequences.zip(positions).map(|(s, p)| ContextFinder::new(s, p, before, after));
        let dimensions = best_dimension.then_some(job.weights.config().d_in);
        let plan = Plan { counts, seed, dimensions };
        Ok(Self { job, encoder, set, plan, facts: RowFacts::open(data.clone())?, contexts, kept: KeptCodes::default() })
    }

    /// Bytes that are kept of a feature at most.
    fn feature_bytes(&self) -> u64 {
        let sources = if self.facts.has_sources() { 8 * MAX_SOURCES } else { 0 };
        (self.plan.feature_bytes() + sources) as u64
    }

    /// The features that fit the memory together.
    fn features_per_pass(&self) -> Result<usize> {
        let bytes = self.feature_bytes();
        match self.job.options.memory / bytes {
            0 => Err(Error::Config(format!(
                "what is kept of a feature takes {}: give more memory, or ask for fewer examples",
                readable_bytes(bytes)
            ))),
            features => Ok(usize::try_from(features).unwrap_or(usize::MAX)),
        }
    }

    /// What is found of a range of features, in a pass over all rows; none if `advance` ends it.
    fn count(&mut self, features: Range<usize>, advance: &mut dyn FnMut(u64) -> bool) -> Result<Option<Vec<Found>>> {
        let room = self.job.options.memory.saturating_sub(features.len() as u64 * self.feature_bytes());
        // Contexts are looked for in as much memory.
        self.kept = KeptCodes::new(if self.contexts.is_some() { room / 2 } else { 0 });
        let Self { job: FeatureJob { rows, vocabulary, batch, .. }, encoder, plan, facts, kept, .. } = self;
        facts.start_pass();
        let mut accumulator = Accumulator::new(features, *plan);
        let mut under_way = VecDeque::new();
        for batch in Batches::in_order((*rows).clone(), *batch)? {
            let batch = batch?;
            // While the device works on the batch before.
            under_way.push_back(facts.of(&batch, plan.dimensions, *vocabulary)?);
            let finished = encoder.submit(&batch.rows).and_then(|codes| match codes.zip(under_way.front()) {
                Some((codes, facts)) => accumulator.add(&codes, facts).map(|()| Some(codes)),
                None => Ok(None),
            });
            let codes = finished.map_err(|error| blame_row(error, rows, accumulator.rows()))?;
            if let Some((codes, facts)) = codes.and_then(|codes| Some((codes, under_way.pop_front()?))) {
                kept.add(facts.numbers, codes);
            }
            if !advance(accumulator.rows()) {
                return Ok(None);
            }
        }
        while let Some(facts) = under_way.pop_front() {
            let finished = encoder.next_finished().and_then(|codes| match codes {
                Some(codes) => accumulator.add(&codes, &facts).map(|()| Some(codes)),
                None => Ok(None),
            });
            let codes = finished.map_err(|error| blame_row(error, rows, accumulator.rows()))?;
            codes.into_iter().for_each(|codes| kept.add(facts.numbers.clone(), codes));
        }
        Ok(advance(accumulator.rows()).then(|| accumulator.finish()))
    }

    /// Writes the examples of features from `first` on, some at a time; false if `advance` ends it.
    fn write_examples(
        &mut self,
        first: usize,
        found: &[Found],
        advance: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<bool> {
        let FeatureOptions { counts, before, after, memory, .. } = self.job.options;
        let per_feature = counts.per_interval * counts.intervals;
        let width = before + 1 + after;
        let bytes = (per_feature * ContextFinder::bytes(before, after)) as u64;
        let most = (memory / bytes).min(u64::from(u32::MAX) / (per_feature * width) as u64).max(1);
        for (part, found) in found.chunks(most as usize).enumerate() {
            let first = first + part * most as usize;
            let examples: Vec<Focus> = (first..)
                .zip(found)
                .flat_map(|(feature, found)| {
                    found.chosen.iter().map(move |chosen| Focus {
                        feature: feature as u32,
                        row: chosen.row,
                        value: chosen.value,
                    })
                })
                .collect();
            let mut contexts: Option<Vec<Context>> = None;
            if let Some(finder) = &self.contexts {
                let found = contexts.insert(finder.find(&examples, self.job.rows)?);
                let Self { job: FeatureJob { rows, batch, .. }, encoder, kept, .. } = self;
                if !encode_contexts(&examples, found, kept, encoder, rows, *batch, &mut *advance)? {
                    return Ok(false);
                }
            }
            let lines = Lines::new(&examples, contexts, &self.facts, self.job.vocabulary)?;
            lines.write(first, found, &mut self.set)?;
        }
        Ok(true)
    }
}
