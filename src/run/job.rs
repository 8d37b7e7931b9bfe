//! A job: what a run trains, and on which activations.

use std::ops::Range;

use super::checkpoint::{Manifest, Reader};
use super::position::Position;
use super::start::Start;
use crate::adapters::{DeviceMemory, host_memory};
use crate::data::{Batches, Stretch, TrainingRows, first_difference};
use crate::engine::select::{Screening, Tuning};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::sae::{SaeConfig, Weights};
use crate::train::{InitialWeights, Initialization, Recipe, Trainer};
use crate::units::readable_bytes;

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
    /// Where it starts.
    pub start: Start,
    /// Activations to train on, and their order.
    pub rows: TrainingRows,
}

impl Job {
    /// A job with seed 0 and the default kernels for the device.
    pub fn new(gpu: &Gpu, config: SaeConfig, recipe: Recipe, rows: impl Into<TrainingRows>) -> Self {
        let tuning = Tuning::estimated(gpu.description(), &config, recipe.batch, Screening::Auto);
        Self { config, recipe, tuning, seed: 0, start: Start::default(), rows: rows.into() }
    }

    /// The batches of these steps, the first being 0.
    ///
    /// # Errors
    /// As [`TrainingRows::batches`].
    pub fn batches(&self, steps: Range<u64>) -> Result<Batches> {
        self.rows.batches(self.stretch(steps))
    }

    fn stretch(&self, steps: Range<u64>) -> Stretch {
        let (batch, seed) = (self.recipe.batch, self.seed);
        let first = steps.start.saturating_mul(batch as u64);
        Stretch { batch, seed, first, steps: steps.end.saturating_sub(steps.start) }
    }

    /// An error of a step, with the file of the row that it is about.
    pub(super) fn locate(&self, error: Error) -> Error {
        let Error::Diverged { step, row: Some(row), file: None, what } = error else { return error };
        self.rows.blame(row, step, what)
    }

    /// Fails if this machine is known to have no memory for the mixing buffer.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check_memory(&self) -> Result<()> {
        let (needed, memory) = (self.rows.buffer_bytes(), host_memory());
        match memory.filter(|memory| needed > memory.available) {
            None => Ok(()),
            Some(DeviceMemory { available, source }) => Err(Error::Config(format!(
                "the mixing buffer needs {} and there are {} ({source}): make it smaller (--mixing-buffer)",
                readable_bytes(needed),
                readable_bytes(available)
            ))),
        }
    }

    /// Waits for the rows of the first step, if they come from a stream: nothing is made before they are there.
    ///
    /// # Errors
    /// Those of the data.
    pub fn wait_for_rows(&self) -> Result<()> {
        self.rows.start(self.stretch(0..self.recipe.steps))
    }

    /// The weights before the first step of a run that draws them, by the default initialisation if this one does not.
    /// They follow from the first batch, which stays the next of `batches`.
    ///
    /// # Errors
    /// As [`Initialization::start`], and those of the data.
    pub fn initial_weights(&self, gpu: &Gpu, batches: &mut Batches) -> Result<InitialWeights> {
        let initialization = match &self.start {
            Start::Drawn(initialization) => *initialization,
            Start::Sae(_) => Initialization::default(),
        };
        let mut first_batch = batches.peek()?.rows.to_f32().into_owned();
        if let Some(scale) = self.recipe.row_scale {
            first_batch.iter_mut().for_each(|value| *value *= scale);
        }
        self.config.input_normalization.apply(&mut first_batch, self.config.d_in);
        let mut initial = initialization.start(gpu, &self.config, self.seed, &first_batch)?;
        initial.provenance = self.rows.provenance().clone();
        Ok(initial)
    }

    /// The training before its first step.
    pub(super) fn begin(&self, gpu: &Gpu, batches: &mut Batches) -> Result<Trainer> {
        let begin = |weights: &dyn Weights| Trainer::with_tuning(gpu, weights, self.recipe.clone(), self.tuning);
        match &self.start {
            Start::Drawn(_) => begin(&self.initial_weights(gpu, batches)?),
            Start::Sae(sae) => sae.with_weights(&self.config, self.recipe.row_scale, begin),
        }
    }

    /// The training as a checkpoint has it, which may have been planned for fewer steps if this one extends it.
    pub(super) fn resume(&self, gpu: &Gpu, checkpoint: &mut Reader, extend: bool) -> Result<Trainer> {
        let step = checkpoint.manifest().step;
        self.check(checkpoint.manifest(), extend)?;
        Trainer::resume(gpu, &self.config, self.recipe.clone(), self.tuning, step, checkpoint)
    }

    /// Fails if a checkpoint is of another job, as far as the checkpoint shows.
    fn check(&self, manifest: &Manifest, extend: bool) -> Result<()> {
        let before = Position::of(manifest)?;
        if let Some(difference) = first_difference(&before.data, &self.rows.identity()?) {
            return Err(Error::Config(format!(
                "the data are not those that the run began with: {difference}; give it the same files, under whatever \
                 names, or name a new directory"
            )));
        }
        let now = self.rows.rows();
        if before.rows != now {
            let count = |rows: Option<u64>| rows.map_or("those of a stream".to_owned(), |rows| rows.to_string());
            return Err(Error::Config(format!(
                "{} rows are left of the data, and {} were when the run began: exclude the same rows, or name a new \
                 directory",
                count(now),
                count(before.rows)
            )));
        }
        if before.is_at_end {
            let problem = "the rows of this run ended inside its mixing buffer: it cannot go on with more of them; \
                           start again in a new directory, or export its last checkpoint";
            return Err(Error::Config(problem.into()));
        }
        if before.order != self.rows.order() {
            return Err(Error::Config(format!(
                "the rows are to come in another order ({:?}) than when the run began ({:?}): restore --order and \
                 --mixing-buffer, or name a new directory",
                self.rows.order(),
                before.order
            )));
        }
        if !before.start.is_same(&self.start) {
            let problem = "the run began from other weights: restore --init and the settings of the initial weights, or \
                           name a new directory";
            return Err(Error::Config(problem.into()));
        }
        let mut planned = manifest.recipe.clone();
        if extend && self.recipe.steps >= planned.steps {
            planned = Recipe { steps: self.recipe.steps, decay_steps: self.recipe.decay_steps, ..planned };
        }
        if (&manifest.sae, &planned, before.seed) != (&self.config, &self.recipe, self.seed) {
            let step = manifest.step;
            return Err(Error::Config(format!(
                "the checkpoint of step {step} is of another run: its sizes, recipe or seed are not those of this one; \
                 restore them, or name a new directory"
            )));
        }
        Ok(())
    }
}
