//! The quality of an SAE on rows.

use std::collections::BTreeMap;

use super::Encoder;
use crate::data::{Batch, RowStatistics};
use crate::engine::forward::count_rows;
use crate::engine::parameters::Shard;
use crate::engine::planes::Plane;
use crate::engine::select::{Screening, Tuning};
use crate::engine::step::check_guard;
use crate::error::{Error, Result};
use crate::gpu::shaders::{Step, mark};
use crate::gpu::{Buffer, Gpu, Pipeline, Program, Recording, Slot};
use crate::sae::Weights;

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
}

/// Results of [`evaluate`].
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
    statistics: RowStatistics,
    squared_error: f64,
    active: f64,
    cosine: f64,
}

impl Sums {
    fn new(d: usize) -> Self {
        Self { statistics: RowStatistics::new(d), squared_error: 0.0, active: 0.0, cosine: 0.0 }
    }

    fn add(&mut self, row: &[f32], [error, dot, squared_norm, active]: [f32; 4]) {
        self.statistics.add(row);
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        self.squared_error += f64::from(error);
        self.active += f64::from(active);
        // A row or reconstruction of zeros points nowhere: its cosine counts as 0.
        self.cosine += f64::from(dot) / (norm * f64::from(squared_norm).sqrt()).max(f64::MIN_POSITIVE);
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
        }
    }
}

/// An evaluation under way, batch by batch, of all rows and of groups of them, each of which takes 24·d bytes of host
/// memory.
pub struct Evaluator {
    pass: EvaluationPass,
    all: Sums,
    groups: BTreeMap<u32, Sums>,
}

impl Evaluator {
    /// Compiles the kernels and puts the SAE on the device, for batches of at most `batch` rows.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn new(gpu: &Gpu, weights: &dyn Weights, batch: usize) -> Result<Self> {
        let tuning = Tuning::estimated(gpu.description(), weights.config(), batch, Screening::Auto);
        Self::with_tuning(gpu, weights, batch, tuning)
    }

    /// As [`Evaluator::new`], with the kernels that find the active features given; the result is the same.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn with_tuning(gpu: &Gpu, weights: &dyn Weights, batch: usize, tuning: Tuning) -> Result<Self> {
        let pass = EvaluationPass::new(gpu, weights, batch, tuning)?;
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

    /// The results.
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

/// A forward pass that also finds which features fire.
struct EvaluationPass {
    encoder: Encoder,
    mark: Pipeline<mark::main::Kernel>,
    /// Its number is what a feature that fired is marked with.
    step: Buffer,
    program: Option<(u32, Program)>,
}

impl EvaluationPass {
    fn new(gpu: &Gpu, weights: &dyn Weights, batch: usize, tuning: Tuning) -> Result<Self> {
        let encoder = Encoder::with_tuning(gpu, weights, batch, tuning)?;
        Ok(Self {
            mark: gpu.pipeline(&encoder.parameters.planes().defines())?,
            step: gpu.buffer_from("step", &[Step { number: 1, ..Step::default() }])?,
            program: None,
            encoder,
        })
    }

    /// (squared error, x · x^, |x^|², active features) of each row.
    fn run(&mut self, batch: &Batch) -> Result<Vec<[f32; 4]>> {
        let Encoder { parameters, forward, .. } = &self.encoder;
        let rows = count_rows(batch.rows.len(), parameters.config().d_in, forward.rows())?;
        let program = match self.program.take() {
            Some((recorded, program)) if recorded == rows => program,
            _ => self.encoder.gpu.program(self.record(rows))?,
        };
        let Encoder { gpu, parameters, forward, .. } = &mut self.encoder;
        forward.upload(gpu, &batch.rows, parameters.config().d_in);
        let pending = gpu.submit_and_read(&program, &[&forward.row_statistics, &forward.guard])?;
        self.program = Some((rows, program));
        let results = pending.wait(gpu)?;
        check_guard(results.get(1)[0])?;
        let mut statistics: Vec<[f32; 4]> = results.get(0);
        statistics.truncate(rows as usize);
        Ok(statistics)
    }

    fn record(&self, rows: u32) -> Recording {
        let mut recording = Recording::default();
        let Encoder { parameters, forward, .. } = &self.encoder;
        self.encoder.record_codes(&mut recording, rows);
        forward.record_decode(&mut recording, parameters, rows);
        forward.record_residual(&mut recording, parameters, rows);
        let entries = &forward.entries;
        for Shard { first, count, scalars, .. } in &parameters.shards {
            let params = mark::Params { entries: rows * entries.k, first: *first, count: *count };
            let step = Slot::from(&self.step);
            recording.run(&self.mark, mark::main::Bindings { entries: &entries.list, scalars, step, params });
        }
        recording
    }

    fn unfired(&self) -> Result<usize> {
        let Encoder { gpu, parameters, .. } = &self.encoder;
        let mut unfired = 0;
        for shard in &parameters.shards {
            let range = parameters.planes().bytes(Plane::Mark, shard.count);
            let marks: Vec<u32> = gpu.read_range(&shard.scalars, range)?.wait(gpu)?.get(0);
            unfired += marks.iter().filter(|&&mark| mark == 0).count();
        }
        Ok(unfired)
    }
}
