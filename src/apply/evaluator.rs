//! The quality of an SAE on rows.

use std::collections::BTreeMap;

use super::stream::{DeviceSae, Done, Part, Stream};
use crate::data::{Batch, RowStatistics};
use crate::engine::select::{Screening, Tuning};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Recording};
use crate::sae::{FeatureDensity, SaeConfig, Weights};

/// Quality of the reconstruction of some rows. Sums over rows are taken in f64. Without variance or rows a quotient is
/// NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    /// Rows seen.
    pub tokens: u64,
    /// Fraction of variance unexplained: Σ|x - x^|² / Σ|x - mean(x)|², the mean taken over all these rows.
    pub fvu: f64,
    /// Squared error, summed over d, averaged over rows.
    pub mse: f64,
    /// Squared error, averaged over d and rows.
    pub mse_per_dim: f64,
    /// Active features per row.
    pub l0: f64,
    /// Mean over rows of the cosine between x and x^.
    pub cosine: f64,
    /// Σ|x^|² / Σ x · x^ (SAELens): below 1 where reconstructions are too short; x^ divided by it has the least error.
    pub relative_reconstruction_bias: f64,
}

/// Results of [`evaluate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// All rows.
    pub all: Reconstruction,
    /// Fraction of the features that fired on none of them.
    pub unfired_fraction: f64,
    /// The share of them that each feature fires on.
    pub density: FeatureDensity,
    /// The groups that occur, each measured on its own rows alone, about their own mean.
    pub groups: BTreeMap<u32, Reconstruction>,
}

/// Evaluates an SAE on batches of at most `batch` rows.
///
/// # Errors
/// Those of the batches; [`Error::Config`] if there is no row; [`Error::Diverged`] if a loss is not finite.
pub fn evaluate(
    gpu: &Gpu,
    weights: &dyn Weights,
    batch: usize,
    batches: impl IntoIterator<Item = Result<Batch>>,
) -> Result<Evaluation> {
    let mut evaluator = Evaluator::new(gpu, weights, batch)?;
    for batch in batches {
        evaluator.add(&batch?, |_| None)?;
    }
    evaluator.finish()
}

/// Sums over rows.
struct Sums {
    statistics: RowStatistics,
    squared_error: f64,
    active: f64,
    cosine: f64,
    dot: f64,
    squared_norm: f64,
}

/// What a row adds to the sums besides its values.
#[derive(Clone, Copy)]
struct RowMeasures {
    squared_error: f64,
    active: f64,
    cosine: f64,
    dot: f64,
    squared_norm: f64,
}

impl RowMeasures {
    /// Of a row of this norm, by what the device says of it.
    fn new(norm: f64, [error, dot, squared_norm, active]: [f32; 4]) -> Self {
        Self {
            squared_error: error.into(),
            active: active.into(),
            dot: dot.into(),
            squared_norm: squared_norm.into(),
            // A row or reconstruction of zeros points nowhere: its cosine counts as 0. Sums in f32 may exceed the
            // bounds.
            cosine: (f64::from(dot) / (norm * f64::from(squared_norm).sqrt()).max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0),
        }
    }
}

impl Sums {
    fn new(d: usize) -> Self {
        let statistics = RowStatistics::new(d);
        Self { statistics, squared_error: 0.0, active: 0.0, cosine: 0.0, dot: 0.0, squared_norm: 0.0 }
    }

    fn add(&mut self, measures: RowMeasures) {
        self.squared_error += measures.squared_error;
        self.active += measures.active;
        self.cosine += measures.cosine;
        self.dot += measures.dot;
        self.squared_norm += measures.squared_norm;
    }

    fn reconstruction(&self, d: usize) -> Reconstruction {
        let rows = self.statistics.count() as f64;
        Reconstruction {
            tokens: self.statistics.count(),
            fvu: self.squared_error / self.statistics.total_variance(),
            mse: self.squared_error / rows,
            mse_per_dim: self.squared_error / rows / d as f64,
            l0: self.active / rows,
            cosine: self.cosine / rows,
            relative_reconstruction_bias: self.squared_norm / self.dot,
        }
    }
}

/// An evaluation under way, batch by batch, of all rows and of groups of them, each of which takes 24·d bytes of host
/// memory.
pub struct Evaluator {
    stream: Stream<Vec<KeptRow>>,
    config: SaeConfig,
    all: Sums,
    groups: BTreeMap<u32, Sums>,
    /// Rows that each feature fired on.
    fired: Vec<u64>,
    finished: u64,
}

/// What the host knows of a row whose batch is under way.
struct KeptRow {
    norm: f64,
    group: Option<u32>,
}

impl Evaluator {
    /// Compiles the kernels and puts the SAE on the device, for batches of at most `batch` rows.
    ///
    /// # Errors
    /// As [`Encoder::new`](super::Encoder::new).
    pub fn new(gpu: &Gpu, weights: &dyn Weights, batch: usize) -> Result<Self> {
        let tuning = Tuning::estimated(gpu.description(), weights.config(), batch, Screening::Auto);
        Self::with_tuning(gpu, weights, batch, tuning)
    }

    /// As [`Evaluator::new`], with the kernels that find the active features given; the result is the same.
    ///
    /// # Errors
    /// As [`Encoder::new`](super::Encoder::new).
    pub fn with_tuning(gpu: &Gpu, weights: &dyn Weights, batch: usize, tuning: Tuning) -> Result<Self> {
        let sae = DeviceSae::new(gpu, weights, batch, tuning)?;
        let statistics = sae.forward.row_statistics.clone();
        let config = weights.config().clone();
        let (all, fired) = (Sums::new(config.d_in), vec![0; config.features]);
        let stream = Stream::new(sae, record, vec![statistics])?;
        Ok(Self { stream, config, all, groups: BTreeMap::new(), fired, finished: 0 })
    }

    /// Takes a batch; `group` says which group, if any, each of its rows is in. The batch before it is then measured.
    ///
    /// # Errors
    /// [`Error::Config`] if the rows are no whole rows or too many; [`Error::Diverged`] if a loss is not finite, naming
    /// the row in its batch, which is the first that is not among [`Evaluator::finished`].
    pub fn add(&mut self, batch: &Batch, group: impl Fn(usize) -> Option<u32>) -> Result<()> {
        if batch.rows.is_empty() {
            return Ok(());
        }
        let Self { stream, all, groups, config, .. } = self;
        let done = stream.submit(batch.rows.view(), || {
            let rows = batch.rows.to_f32();
            let keep = rows.chunks_exact(config.d_in).enumerate().map(|(at, row)| {
                let (norm, group) = (norm(row), group(at));
                all.statistics.add(row);
                if let Some(group) = group {
                    groups.entry(group).or_insert_with(|| Sums::new(config.d_in)).statistics.add(row);
                }
                KeptRow { norm, group }
            });
            keep.collect()
        })?;
        done.into_iter().for_each(|done| self.finish_batch(done));
        Ok(())
    }

    /// The number of rows measured: those of the batches under way are not.
    pub fn finished(&self) -> u64 {
        self.finished
    }

    /// Measures the oldest batch under way; false if there is none.
    fn finish_oldest(&mut self) -> Result<bool> {
        let done = self.stream.next()?;
        Ok(done.map(|done| self.finish_batch(done)).is_some())
    }

    fn finish_batch(&mut self, Done { parts, kept }: Done<Vec<KeptRow>>) {
        for &[feature, place, ..] in parts.iter().flat_map(|part| &part.entries) {
            // An entry without flags carries nothing (shaders/shared/entry_list.wgsl).
            self.fired[feature as usize] += u64::from(place >> 25 != 0);
        }
        let statistics = |part: &Part| part.results.get::<[f32; 4]>(0).into_iter().take(part.rows).collect::<Vec<_>>();
        for (&KeptRow { norm, group }, measured) in kept.iter().zip(parts.iter().flat_map(statistics)) {
            let measures = RowMeasures::new(norm, measured);
            self.all.add(measures);
            if let Some(sums) = group.and_then(|group| self.groups.get_mut(&group)) {
                sums.add(measures);
            }
        }
        self.finished += kept.len() as u64;
    }

    /// Measures the batches under way.
    ///
    /// # Errors
    /// As [`Evaluator::add`].
    pub fn settle(&mut self) -> Result<()> {
        while self.finish_oldest()? {}
        Ok(())
    }

    /// The results.
    ///
    /// # Errors
    /// As [`Evaluator::add`], and [`Error::Config`] if there was no row.
    pub fn finish(mut self) -> Result<Evaluation> {
        self.settle()?;
        let Self { config, all, groups, fired, .. } = &self;
        let all = all.reconstruction(config.d_in);
        if all.tokens == 0 {
            return Err(Error::Config("there is no row to evaluate on".into()));
        }
        let groups = groups.iter().map(|(&group, sums)| (group, sums.reconstruction(config.d_in)));
        let density = FeatureDensity::of(fired.iter().copied(), all.tokens);
        Ok(Evaluation {
            all,
            groups: groups.collect(),
            unfired_fraction: density.unfired as f64 / config.features as f64,
            density,
        })
    }
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// A forward pass over so many rows.
fn record(sae: &DeviceSae, rows: u32) -> Recording {
    let DeviceSae { parameters, forward, .. } = sae;
    let mut recording = sae.record_codes(rows);
    forward.record_decode(&mut recording, parameters, rows);
    forward.record_residual(&mut recording, parameters, rows);
    recording
}
