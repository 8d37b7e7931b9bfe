//! A job: what a run trains, and on which activations.

use std::ops::Range;

use super::checkpoint::{Manifest, Reader};
use super::position::Position;
use crate::data::{Batches, FilteredRows, blame_row, first_difference, shuffled_row};
use crate::engine::select::{Screening, Tuning};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::sae::SaeConfig;
use crate::train::{InitialWeights, Recipe, Trainer, initialize};

/// All that decides the result of a run: two runs of one job end with the same bits on one device.
#[derive(Clone, Debug)]
pub struct Job {
    /// Sizes and selection of the SAE.
    pub config: SaeConfig,
    /// Training recipe, its schedule included.
    pub recipe: Recipe,
    /// Kernels; the time depends on them, the result does not.
    pub tuning: Tuning,
    /// Seed of the initial weights and of the order of the rows.
    pub seed: u64,
    /// Activations to train on.
    pub rows: FilteredRows,
}

impl Job {
    /// A job with seed 0 and the default kernels for the device.
    pub fn new(gpu: &Gpu, config: SaeConfig, recipe: Recipe, rows: impl Into<FilteredRows>) -> Self {
        let tuning = Tuning::estimated(gpu.description(), &config, recipe.batch, Screening::Auto);
        Self { config, recipe, tuning, seed: 0, rows: rows.into() }
    }

    /// The batches of these steps, the first being 0.
    ///
    /// # Errors
    /// As [`Batches::shuffled`].
    pub fn batches(&self, steps: Range<u64>) -> Result<Batches> {
        let batch = self.recipe.batch;
        let first = steps.start.saturating_mul(batch as u64);
        Batches::shuffled(self.rows.clone(), batch, self.seed, first, steps.end.saturating_sub(steps.start))
    }

    /// An error of a step, with the file of the row that it is about.
    pub(super) fn locate(&self, error: Error) -> Error {
        let Error::Diverged { step: Some(step), row: Some(place), file: None, what } = error else { return error };
        let position = (step - 1) * self.recipe.batch as u64 + place;
        blame_row(self.rows.data(), shuffled_row(&self.rows, self.seed, position), Some(step), what)
    }

    /// The weights before the first step. `b_dec` starts at the geometric median of the first batch, which is read for
    /// it.
    ///
    /// # Errors
    /// As [`SaeConfig::validate`], and those of the data.
    pub fn initial_weights(&self) -> Result<InitialWeights> {
        let first_batch = self.batches(0..1)?.next().transpose()?;
        let first_batch = first_batch.ok_or_else(|| Error::Config("there is no row to train on".into()))?;
        let mut initial = initialize(&self.config, self.seed, &first_batch.rows)?;
        initial.provenance = self.rows.data().provenance().clone();
        Ok(initial)
    }

    /// The training before its first step.
    pub(super) fn begin(&self, gpu: &Gpu) -> Result<Trainer> {
        Trainer::with_tuning(gpu, &self.initial_weights()?, self.recipe.clone(), self.tuning)
    }

    /// The training as a checkpoint has it.
    pub(super) fn resume(&self, gpu: &Gpu, checkpoint: &mut Reader) -> Result<Trainer> {
        let step = checkpoint.manifest().step;
        self.check(checkpoint.manifest())?;
        Trainer::resume(gpu, &self.config, self.recipe.clone(), self.tuning, step, checkpoint)
    }

    /// Fails if a checkpoint is of another job, as far as the checkpoint shows.
    fn check(&self, manifest: &Manifest) -> Result<()> {
        let before = Position::of(manifest)?;
        if let Some(difference) = first_difference(&before.data, &self.rows.data().identity()?) {
            return Err(Error::Config(format!(
                "the data are not those that the run began with: {difference}; give it the same files, under whatever \
                 names, or name a new directory"
            )));
        }
        let now = self.rows.rows();
        if before.rows != now {
            return Err(Error::Config(format!(
                "{now} rows are left of the data, and {} were when the run began: exclude the same rows, or \
                 name a new directory",
                before.rows
            )));
        }
        if (&manifest.sae, &manifest.recipe, before.seed) != (&self.config, &self.recipe, self.seed) {
            let step = manifest.step;
            return Err(Error::Config(format!(
                "the checkpoint of step {step} is of another run: its sizes, recipe or seed are not those of this one; \
                 restore them, or name a new directory"
            )));
        }
        Ok(())
    }
}
