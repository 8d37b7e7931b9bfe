//! A training step: the forward pass, gradients over the sparse codes, clipping, Adam. Nothing of size features · d is
//! held but the parameters and their moments.

use super::backward::Backward;
use super::optimizer::{Optimizer, UpdateArguments};
use super::state::{self, StatePart, StateSink, StateSource, state_tensors};
use super::{Forward, Recipe};
use crate::engine::select::Tuning;
use crate::error::{Error, Result};
use crate::gpu::shaders::{Clip as ClipResult, Guard};
use crate::gpu::{Buffer, Gpu, Pause, Pending, Program, Recording, Timing};
use crate::kernels::{BackwardKernels, ForwardKernels};
use crate::sae::Parameters;

/// Parameters and optimiser on the device, and the program that takes them one step further.
pub struct TrainingStep {
    parameters: Parameters,
    forward: Forward,
    backward: Backward,
    optimizer: Optimizer,
    recipe: Recipe,
    program: Program,
    taken: u32,
}

/// What the host learns of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResults {
    /// Squared error of each row.
    pub squared_errors: Vec<f32>,
    /// Active features of all rows.
    pub active: f64,
    /// Norm of the whole gradient, before clipping.
    pub gradient_norm: f32,
    /// Features that have not fired for the recipe's window.
    pub dead: u32,
    /// Rows that screening could not prove exact; if there are any, all were selected by chunks.
    pub uncertain_rows: u32,
}

impl TrainingStep {
    /// Makes the optimiser's state for parameters that are on the device, and the program of a step.
    ///
    /// # Errors
    /// [`Error::Config`] if the recipe or the batch cannot be used, [`Error::OutOfMemory`] if the state does not fit.
    pub fn new(
        gpu: &Gpu,
        kernels: (&ForwardKernels, &BackwardKernels),
        parameters: Parameters,
        recipe: Recipe,
        tuning: Tuning,
    ) -> Result<Self> {
        recipe.validate()?;
        let forward = Forward::new(gpu, &parameters, recipe.batch, tuning)?;
        let mut this = Self {
            backward: Backward::new(gpu, &parameters, &forward)?,
            optimizer: Optimizer::new(gpu, &parameters, recipe.moments)?,
            program: gpu.program(Recording::default())?,
            taken: 0,
            parameters,
            forward,
            recipe,
        };
        this.program = gpu.program(this.record(kernels))?;
        Ok(this)
    }

    /// Makes room for the results of `steps` steps that are under way at once, and for the tiles of a copy of the state.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve_staging(&self, gpu: &Gpu, steps: usize) -> Result<()> {
        gpu.reserve_staging(self.reported().iter().map(|buffer| buffer.bytes()).sum(), steps)?;
        state::reserve_staging(gpu, &self.state_parts())
    }

    /// Submits a step over `[batch, d]` rows, without waiting for it.
    ///
    /// # Errors
    /// [`Error::Config`] if `rows` is no whole batch; [`Error::DeviceLost`] or [`Error::Device`] if the device fails.
    pub fn submit(&mut self, gpu: &Gpu, rows: &[f32], learning_rate: f64) -> Result<Pending> {
        self.prepare(gpu, rows, learning_rate)?;
        gpu.submit_and_read(&self.program, &self.reported())
    }

    /// As [`TrainingStep::submit`], and times each dispatch.
    ///
    /// # Errors
    /// As [`TrainingStep::submit`], and [`Error::Device`] if the device has no timestamps.
    pub fn submit_and_time(&mut self, gpu: &Gpu, rows: &[f32], learning_rate: f64) -> Result<(Pending, Timing)> {
        self.prepare(gpu, rows, learning_rate)?;
        gpu.submit_and_time(&self.program, &self.reported())
    }

    /// As [`TrainingStep::submit`], and meanwhile copies the state as it is before this step to `sink`: each shard before
    /// its own update, and without a wait unless the sink is slower than the device.
    ///
    /// # Errors
    /// As [`TrainingStep::submit`], and those of the sink.
    pub fn submit_and_copy(
        &mut self,
        gpu: &Gpu,
        rows: &[f32],
        learning_rate: f64,
        sink: &mut dyn StateSink,
    ) -> Result<Pending> {
        self.prepare(gpu, rows, learning_rate)?;
        let (tensors, stages) = (state_tensors(self.parameters.config(), self.recipe.moments), self.state_parts());
        let mut copy = state::copy(gpu, sink, &tensors, &stages);
        let pending = gpu.submit_with_pauses(&self.program, &self.reported(), |pause| match pause {
            Pause::Busy => copy.advance(),
            Pause::Mark(stage) => copy.reach(stage),
        })?;
        copy.finish()?;
        Ok(pending)
    }

    /// Copies the state as it is after the last step to `sink`, and waits for it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device fails, and those of the sink.
    pub fn copy_state(&self, gpu: &Gpu, sink: &mut dyn StateSink) -> Result<()> {
        state::copy(gpu, sink, &state_tensors(self.parameters.config(), self.recipe.moments), &self.state_parts())
            .finish()
    }

    /// Goes on from a state that was copied after `taken` steps.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device fails, and those of the source; the state is then neither of both.
    pub fn restore_state(&mut self, gpu: &Gpu, source: &mut dyn StateSource, taken: u32) -> Result<()> {
        state::restore(
            gpu,
            source,
            &state_tensors(self.parameters.config(), self.recipe.moments),
            &self.state_parts(),
        )?;
        self.taken = taken;
        Ok(())
    }

    fn state_parts(&self) -> Vec<Vec<StatePart>> {
        self.optimizer.state_parts(&self.parameters, self.recipe.moments)
    }

    fn prepare(&mut self, gpu: &Gpu, rows: &[f32], learning_rate: f64) -> Result<()> {
        let d = self.parameters.config().d_in;
        if rows.len() != self.recipe.batch * d {
            return Err(Error::Config(format!(
                "a step takes {} rows of {d} values, not {} values",
                self.recipe.batch,
                rows.len()
            )));
        }
        self.taken += 1;
        self.forward.upload(gpu, rows, d);
        self.optimizer.upload(gpu, &self.recipe, self.taken, learning_rate);
        Ok(())
    }

    fn reported(&self) -> [&Buffer; 5] {
        let Self { forward, backward, optimizer, .. } = self;
        [&forward.row_statistics, &backward.clip, &optimizer.dead, &forward.guard, forward.uncertain()]
    }

    /// Waits for a step's results.
    ///
    /// # Errors
    /// [`Error::Diverged`] if something was not finite: neither this step nor any after it changed the parameters.
    pub fn results(&self, gpu: &Gpu, pending: Pending) -> Result<StepResults> {
        let results = pending.wait(gpu)?;
        let guard: Guard = results.get(3)[0];
        if let Some(problem) = describe_guard(guard) {
            return Err(Error::Diverged(problem));
        }
        let clip: ClipResult = results.get(1)[0];
        let rows: Vec<[f32; 4]> = results.get(0);
        let rows = &rows[..self.recipe.batch];
        Ok(StepResults {
            squared_errors: rows.iter().map(|row| row[0]).collect(),
            active: rows.iter().map(|row| f64::from(row[3])).sum(),
            gradient_norm: clip.norm,
            dead: results.get(2)[0],
            uncertain_rows: results.get(4)[0],
        })
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The forward pass's buffers, as the last step left them.
    pub fn forward(&self) -> &Forward {
        &self.forward
    }

    /// The first moments of W_enc, W_dec (`[features, d]`), b_enc and b_dec: after the first step (1 - beta1) times the
    /// clipped gradients.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device fails.
    pub fn first_moments(&self, gpu: &Gpu) -> Result<[Vec<f32>; 4]> {
        self.optimizer.first_moments(gpu, &self.parameters, self.recipe.moments)
    }

    fn record(&self, kernels: (&ForwardKernels, &BackwardKernels)) -> Recording {
        let Self { parameters, forward, backward, optimizer, recipe, .. } = self;
        let mut recording = Recording::default();
        forward.record_codes(&mut recording, kernels.0, parameters, forward.rows());
        forward.record_loss(&mut recording, kernels.0, parameters, forward.rows());
        backward.record(&mut recording, kernels.1, (parameters, forward, recipe));
        optimizer.record(&mut recording, kernels.1, UpdateArguments { parameters, forward, backward, recipe });
        recording
    }
}

/// What a raised guard says.
pub(super) fn describe_guard(guard: Guard) -> Option<String> {
    // The bits and the complement of the row are those of shaders/shared/guard.wgsl.
    let row = !guard.row;
    match guard.status {
        0 => None,
        status if status & 1 != 0 => Some(format!("row {row} of the batch holds a value that is not finite")),
        status if status & 2 != 0 => Some(format!(
            "the loss of row {row} of the batch is not finite: lower the learning rate, or look at the data"
        )),
        _ => Some("the gradient is not finite: lower the learning rate, or look at the data".into()),
    }
}
