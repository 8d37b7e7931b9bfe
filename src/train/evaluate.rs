//! Running a finished SAE: codes of rows, and how well they reconstruct.

use std::collections::BTreeMap;

use super::Forward;
use super::step::describe_guard;
use crate::data::{Batch, Moments};
use crate::engine::select::{Screening, SelectionMethod, Tuning};
use crate::error::{Error, Result};
use crate::gpu::shaders::{Guard, activity};
use crate::gpu::{Buffer, Gpu, Program, Recording};
use crate::kernels::{Activity, ForwardKernels, Runs, Transpose};
use crate::sae::{Parameters, Weights};

/// An SAE on the device, ready to encode up to `batch` rows at a time.
pub struct Encoder<'a> {
    gpu: &'a Gpu,
    kernels: ForwardKernels,
    parameters: Parameters,
    forward: Forward,
    uncertain_rows: u32,
}

/// The codes of some rows on the host: `k` entries a row, by ascending feature; a value of 0 is an entry that is not active.
#[derive(Clone, Debug, PartialEq)]
pub struct HostCodes {
    /// `[rows, k]`.
    pub features: Vec<u32>,
    /// What the feature is reported to be: `[rows, k]`.
    pub values: Vec<f32>,
}

impl<'a> Encoder<'a> {
    /// Compiles the kernels and puts the SAE on the device.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Shader`] or [`Error::OutOfMemory`] if the device cannot take it.
    pub fn new(gpu: &'a Gpu, weights: &dyn Weights, batch: usize) -> Result<Self> {
        let method = Tuning::estimated(gpu.description(), weights.config(), batch, Screening::Auto).method;
        Self::with_method(gpu, weights, batch, method)
    }

    /// As [`Encoder::new`], with the way to select features given; the result is the same.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn with_method(gpu: &'a Gpu, weights: &dyn Weights, batch: usize, method: SelectionMethod) -> Result<Self> {
        let tuning = Tuning::usual(gpu.description(), method);
        let kernels = ForwardKernels::new(gpu)?;
        let parameters = Parameters::upload(gpu, &kernels.norms, weights)?;
        let forward = Forward::new(gpu, &parameters, batch, tuning)?;
        Ok(Self { gpu, kernels, parameters, forward, uncertain_rows: 0 })
    }

    /// The codes of `[rows, d_in]` rows, at most a batch of them.
    ///
    /// # Errors
    /// [`Error::Config`] if the rows are no whole rows or too many, [`Error::Diverged`] if one is not finite.
    pub fn encode(&mut self, rows: &[f32]) -> Result<HostCodes> {
        let (d, k) = (self.parameters.config().d_in, self.parameters.config().k);
        let count = rows.len() / d;
        if !rows.len().is_multiple_of(d) || count > self.forward.rows() as usize {
            return Err(Error::Config(format!(
                "{} values are not at most {} rows of {d}",
                rows.len(),
                self.forward.rows()
            )));
        }
        let mut recording = Recording::default();
        self.forward.record_codes(&mut recording, &self.kernels, &self.parameters, count as u32);
        self.forward.upload(self.gpu, rows, d);
        let (codes, guard, uncertain) = (&self.forward.codes, &self.forward.guard, self.forward.uncertain());
        let program = self.gpu.program(recording)?;
        let read = [&codes.features, &codes.keys, guard, uncertain];
        let results = self.gpu.submit_and_read(&program, &read)?.wait(self.gpu)?;
        check_guard(results.get(2)[0])?;
        self.uncertain_rows = results.get(3)[0];
        let mut codes = HostCodes { features: results.get(0), values: results.get(1) };
        codes.features.truncate(count * k);
        codes.values.truncate(count * k);
        Ok(codes)
    }

    /// How many rows of the last batch screening could not prove exact; if there were any, all were selected by chunks.
    pub fn uncertain_rows(&self) -> u32 {
        self.uncertain_rows
    }
}

fn check_guard(guard: Guard) -> Result<()> {
    describe_guard(guard).map_or(Ok(()), |problem| Err(Error::Diverged(problem)))
}

/// How well an SAE reconstructs some rows. Sums over rows are taken in f64. Without variance or rows a quotient is NaN or
/// infinite.
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
    /// Active features a row.
    pub l0: f64,
    /// Mean over rows of the cosine between x and x^.
    pub cosine: f64,
}

/// What [`evaluate`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// All rows.
    pub all: Reconstruction,
    /// Fraction of the features that fired on none of them.
    pub unfired_fraction: f64,
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
    moments: Moments,
    squared_error: f64,
    active: f64,
    cosine: f64,
}

impl Sums {
    fn new(d: usize) -> Self {
        Self { moments: Moments::new(d), squared_error: 0.0, active: 0.0, cosine: 0.0 }
    }

    fn add(&mut self, row: &[f32], [error, dot, squared_norm, active]: [f32; 4]) {
        self.moments.add(row);
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        self.squared_error += f64::from(error);
        self.active += f64::from(active);
        // A row or reconstruction of zeros points nowhere: its cosine counts as 0.
        self.cosine += f64::from(dot) / (norm * f64::from(squared_norm).sqrt()).max(f64::MIN_POSITIVE);
    }

    fn reconstruction(&self, d: usize) -> Reconstruction {
        let rows = self.moments.count() as f64;
        Reconstruction {
            tokens: self.moments.count(),
            fvu: self.squared_error / self.moments.total_variance(),
            mse: self.squared_error / rows,
            mse_per_dim: self.squared_error / rows / d as f64,
            l0: self.active / rows,
            cosine: self.cosine / rows,
        }
    }
}

/// An evaluation under way, batch by batch, of all rows and of groups of them, each of which takes 24·d bytes of host memory.
pub struct Evaluator<'a> {
    pass: EvaluationPass<'a>,
    all: Sums,
    groups: BTreeMap<u32, Sums>,
}

impl<'a> Evaluator<'a> {
    /// Compiles the kernels and puts the SAE on the device, for batches of at most `batch` rows.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn new(gpu: &'a Gpu, weights: &dyn Weights, batch: usize) -> Result<Self> {
        let method = Tuning::estimated(gpu.description(), weights.config(), batch, Screening::Auto).method;
        Self::with_method(gpu, weights, batch, method)
    }

    /// As [`Evaluator::new`], with the way to select features given; the result is the same.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn with_method(gpu: &'a Gpu, weights: &dyn Weights, batch: usize, method: SelectionMethod) -> Result<Self> {
        let pass = EvaluationPass::new(gpu, weights, batch, method)?;
        Ok(Self { pass, all: Sums::new(weights.config().d_in), groups: BTreeMap::new() })
    }

    /// Takes a batch; `group` says which group, if any, each of its rows is in.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a loss is not finite.
    pub fn add(&mut self, batch: &Batch, group: impl Fn(usize) -> Option<u32>) -> Result<()> {
        let d = self.pass.encoder.parameters.config().d_in;
        for (at, (row, statistics)) in batch.rows.chunks_exact(d).zip(self.pass.run(batch)?).enumerate() {
            self.all.add(row, statistics);
            if let Some(group) = group(at) {
                self.groups.entry(group).or_insert_with(|| Sums::new(d)).add(row, statistics);
            }
        }
        Ok(())
    }

    /// What was found.
    ///
    /// # Errors
    /// [`Error::Config`] if there was no row.
    pub fn finish(self) -> Result<Evaluation> {
        let config = self.pass.encoder.parameters.config();
        let all = self.all.reconstruction(config.d_in);
        if all.tokens == 0 {
            return Err(Error::Config("there is no row to evaluate on".into()));
        }
        let groups = self.groups.iter().map(|(&group, sums)| (group, sums.reconstruction(config.d_in)));
        Ok(Evaluation {
            all,
            unfired_fraction: self.pass.unfired()? as f64 / config.features as f64,
            groups: groups.collect(),
        })
    }
}

/// A forward pass that also counts which features fire.
struct EvaluationPass<'a> {
    encoder: Encoder<'a>,
    transpose: Transpose,
    activity: Activity,
    runs: Runs,
    step: Buffer,
    /// `last_fired` and `fired` of each shard.
    counters: Vec<[Buffer; 2]>,
    program: Option<(u32, Program)>,
}

impl<'a> EvaluationPass<'a> {
    fn new(gpu: &'a Gpu, weights: &dyn Weights, batch: usize, method: SelectionMethod) -> Result<Self> {
        let encoder = Encoder::with_method(gpu, weights, batch, method)?;
        let forward = &encoder.forward;
        let shards = encoder.parameters.shards.iter();
        Ok(Self {
            transpose: Transpose::new(gpu)?,
            activity: Activity::new(gpu)?,
            runs: Runs::new(gpu, forward.rows(), forward.codes.k, weights.config().features as u32)?,
            step: gpu.buffer("step", 8)?,
            counters: shards
                .map(|shard| {
                    let counter = || gpu.buffer("times fired", shard.count.into());
                    Ok([counter()?, counter()?])
                })
                .collect::<Result<_>>()?,
            program: None,
            encoder,
        })
    }

    /// (squared error, x · x^, |x^|², active features) of each row.
    fn run(&mut self, batch: &Batch) -> Result<Vec<[f32; 4]>> {
        let rows = batch.count as u32;
        if self.program.as_ref().is_none_or(|(recorded, _)| *recorded != rows) {
            self.program = Some((rows, self.encoder.gpu.program(self.record(rows))?));
        }
        let Encoder { gpu, parameters, forward, .. } = &mut self.encoder;
        forward.upload(gpu, &batch.rows, parameters.config().d_in);
        let Some((_, program)) = &self.program else { return Ok(Vec::new()) };
        let results = gpu.submit_and_read(program, &[&forward.row_statistics, &forward.guard])?.wait(gpu)?;
        check_guard(results.get(1)[0])?;
        let mut statistics: Vec<[f32; 4]> = results.get(0);
        statistics.truncate(batch.count);
        Ok(statistics)
    }

    fn record(&self, rows: u32) -> Recording {
        let mut recording = Recording::default();
        let Encoder { kernels, parameters, forward, .. } = &self.encoder;
        forward.record_codes(&mut recording, kernels, parameters, rows);
        forward.record_loss(&mut recording, kernels, parameters, rows);
        self.transpose.record(&mut recording, &forward.codes, rows, &self.runs);
        for (shard, [last_fired, fired]) in parameters.shards.iter().zip(&self.counters) {
            let bindings = activity::record::Bindings {
                run_features: &self.runs.features,
                run_starts: &self.runs.starts,
                block_bounds: &self.runs.block_bounds,
                last_fired,
                fired,
                guard: &forward.guard,
                step: &self.step,
                params: activity::Params { first: shard.first, count: shard.count, window: u32::MAX },
            };
            self.activity.record(&mut recording, bindings, self.runs.capacity().min(shard.count));
        }
        recording
    }

    fn unfired(&self) -> Result<usize> {
        let mut unfired = 0;
        for (shard, [_, fired]) in self.encoder.parameters.shards.iter().zip(&self.counters) {
            let counts: Vec<u32> = self.encoder.gpu.read(fired)?;
            unfired += counts[..shard.count as usize].iter().filter(|&&count| count == 0).count();
        }
        Ok(unfired)
    }
}
