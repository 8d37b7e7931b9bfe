//! Submitting a step, whole or in the stages of owners, and taking it again the other way.

use super::{Outcome, StepInput, TrainingStep};
use crate::engine::apply::StepConstants;
use crate::engine::path::StepPath;
use crate::engine::stage::{Exchange, StagePrograms};
use crate::engine::state::{self, StateSink, state_tensors};
use crate::error::{Error, Result};
use crate::gpu::shaders::{Guard, center};
use crate::gpu::{Gpu, Pause, Pending, Timing};

impl TrainingStep {
    /// Makes room for the rows and the results of `steps` steps that are under way at once, and for the tiles of a copy
    /// of the state.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve_staging(&self, gpu: &Gpu, steps: usize) -> Result<()> {
        self.forward.reserve_uploads(gpu, steps)?;
        let gpu = &gpu.for_part("readback");
        gpu.reserve_staging(self.reported().buffers().iter().map(|buffer| buffer.bytes()).sum(), steps)?;
        state::reserve_staging(gpu, &self.state_parts())
    }

    /// Submits a step without waiting for it.
    ///
    /// # Errors
    /// [`Error::Config`] if the rows are no whole batch; [`Error::DeviceLost`] or [`Error::Device`] if the device
    /// fails.
    pub fn submit(&mut self, gpu: &Gpu, input: StepInput<'_>) -> Result<Pending> {
        self.begin(gpu, input)?;
        self.end(gpu)
    }

    /// As [`TrainingStep::submit`], and times each dispatch.
    ///
    /// # Errors
    /// As [`TrainingStep::submit`], and [`Error::Device`] if the device has no timestamps.
    pub fn submit_and_time(&mut self, gpu: &Gpu, input: StepInput<'_>) -> Result<(Pending, Timing)> {
        self.begin(gpu, input)?;
        gpu.submit_and_time(&self.program().last, &self.reported().buffers())
    }

    /// As [`TrainingStep::submit`], and meanwhile copies the state as it is before this step to `sink`: each shard
    /// before its own update, and without a wait unless the sink is slower than the device.
    ///
    /// # Errors
    /// As [`TrainingStep::submit`], and those of the sink.
    pub fn submit_and_copy(&mut self, gpu: &Gpu, input: StepInput<'_>, sink: &mut dyn StateSink) -> Result<Pending> {
        self.begin(gpu, input)?;
        let (tensors, stages) = (state_tensors(self.parameters.config(), self.recipe.moments), self.state_parts());
        let mut copy = state::copy(gpu, sink, &tensors, &stages);
        let reported = self.reported().buffers();
        let pending = gpu.submit_with_pauses(&self.program().last, &reported, |pause| match pause {
            Pause::Busy => copy.advance(),
            Pause::Mark(stage) => copy.reach(stage),
        })?;
        copy.finish()?;
        Ok(pending)
    }

    /// The exchanges of the owners of the model in a step, in order.
    pub fn exchanges(&self) -> impl Iterator<Item = Exchange> {
        self.programs.exchanged.iter().map(|(_, exchange)| *exchange)
    }

    /// Uploads the rows and the constants of the next step.
    ///
    /// # Errors
    /// [`Error::Config`] if the rows are no whole batch, [`Error::DeviceLost`] or [`Error::Device`].
    pub fn begin(&mut self, gpu: &Gpu, input: StepInput<'_>) -> Result<()> {
        let d = self.parameters.config().d_in;
        let StepInput { rows, learning_rate } = input;
        if rows.len() != self.recipe.batch * d {
            let (batch, values) = (self.recipe.batch, rows.len());
            return Err(Error::Config(format!("a step takes {batch} rows of {d} values, not {values} values")));
        }
        self.taken += 1;
        self.follow(gpu)?;
        self.forward.upload(gpu, rows, d)?;
        let sparsity = self.recipe.sparsity_at(u64::from(self.taken) - 1);
        let constants = StepConstants { number: self.taken, learning_rate, sparsity };
        self.optimizer.upload(gpu, &self.recipe, constants);
        Ok(())
    }

    /// Lowers the guard and forgets the last `steps` steps, none of which changed the model: they can be taken again.
    pub fn take_back(&mut self, gpu: &Gpu, steps: u32) {
        gpu.upload(&self.forward.guard, 0, &[Guard { status: 0, row: 0 }]);
        self.taken -= steps;
    }

    /// Takes back the last `steps` steps, of which the first ended so; those that follow go the other way, if there is
    /// one.
    pub fn take_again(&mut self, gpu: &Gpu, outcome: &Outcome, steps: u32) {
        self.take_back(gpu, steps);
        if *outcome == Outcome::TooManyDead {
            self.dead_room = self.parameters.features();
        }
        self.set_path(match outcome {
            Outcome::Done(_) | Outcome::TooManyUncertain | Outcome::TooManyDead => self.path,
            Outcome::ListFull => StepPath::Slabs,
            Outcome::ListFits => StepPath::Lists,
        });
    }

    /// The way of the steps that are submitted next.
    pub fn path(&self) -> StepPath {
        self.path
    }

    /// Sets it to that of the step before; there is only one way where lists cannot be full.
    pub fn set_path(&mut self, path: StepPath) {
        self.path = if self.has_slabs() { path } else { StepPath::Lists };
    }

    /// Whether a step whose entries do not fit their list can be taken by slabs.
    pub fn has_slabs(&self) -> bool {
        self.slab_programs.is_some()
    }

    fn program(&self) -> &StagePrograms {
        match (self.path, &self.slab_programs) {
            (StepPath::Slabs, Some(programs)) => programs,
            _ => &self.programs,
        }
    }

    /// Has the next step find a list full, whether it is or not.
    #[doc(hidden)]
    pub fn raise_list_full(&self, gpu: &Gpu) {
        gpu.upload(&self.forward.guard, 0, &[Guard { status: center::LIST_FULL, row: 0 }]);
    }

    /// Submits what comes before the exchange of this number; the owners then exchange.
    ///
    /// # Errors
    /// As [`TrainingStep::submit`].
    pub fn run_stage(&self, gpu: &Gpu, number: usize) -> Result<()> {
        gpu.submit(&self.programs.exchanged[number].0)
    }

    /// Submits what comes after the last exchange.
    ///
    /// # Errors
    /// As [`TrainingStep::submit`].
    pub fn end(&self, gpu: &Gpu) -> Result<Pending> {
        gpu.submit_and_read(&self.program().last, &self.reported().buffers())
    }
}
