//! A training step: the forward pass, gradients over the sparse entries, clipping, Adam. [`TrainingStep::stages`] is
//! the step in one place. Nothing of size features · d is held but the parameters and their moments.

mod held_out;

use std::ops::Range;

use super::apply::{Optimizer, StepConstants};
use super::backward::{Backward, Losses};
use super::dead::{Dead, DeadInputs};
use super::entries::Pass;
use super::entry;
use super::forward::{Finding, Forward, Room};
use super::parameters::Parameters;
use super::path::StepPath;
use super::recipe::Recipe;
use super::select::{ScreenMode, Tuning};
use super::slab::Slab;
use super::stage::{Exchange, StagePrograms, Stages, World};
use super::state::{self, StatePart, StateSink, StateSource, state_tensors};
use super::variance::{Variance, VarianceInputs, VarianceOf};
use crate::data::RowsView;
use crate::error::{Divergence, Error, Result};
use crate::gpu::shaders::{Clip as ClipResult, Guard, Step, center, rerun};
use crate::gpu::{Buffer, Gpu, Pause, Pending, Pipeline, Timing, shaders};

/// Parameters and optimizer on the device, and the program that takes them one step further.
pub struct TrainingStep {
    parameters: Parameters,
    forward: Forward,
    variance: Variance,
    dead: Option<Dead>,
    backward: Backward,
    optimizer: Optimizer,
    slab: Option<Slab>,
    recipe: Recipe,
    norms: Pipeline<shaders::norms::main::Kernel>,
    programs: StagePrograms,
    /// Those of a step by slabs, where lists may be full.
    slab_programs: Option<StagePrograms>,
    path: StepPath,
    world: World,
    taken: u32,
    /// Of the step that `programs` take.
    finding: Finding,
    /// Of the steps that follow.
    screen: ScreenMode,
    /// The rows of the step that are audited.
    audited: Range<u32>,
}

/// The rows of a step, and what the schedule says of it.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a> {
    /// `[batch, d]`.
    pub rows: RowsView<'a>,
    /// The schedule's.
    pub learning_rate: f64,
}

/// Results of a step, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResults {
    /// Squared error of each row.
    pub squared_errors: Vec<f32>,
    /// Σ|x - mean of the batch|² over its rows, in f64 from one f32 per row.
    pub variance: f64,
    /// The losses other than that of the whole reconstruction by name, weighted as they are in the loss.
    pub losses: Vec<(String, f64)>,
    /// Active features of all rows.
    pub active: f64,
    /// Norm of the whole gradient, before clipping.
    pub gradient_norm: f32,
    /// Features that have not fired for the recipe's window.
    pub dead: u32,
    /// Rows that screening could not prove exact, and that were selected again in f32.
    pub uncertain_rows: u32,
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was taken.
    Done(StepResults),
    /// Entries did not fit their list: neither it nor any step after it changed the model, and all are to be taken
    /// again ([`TrainingStep::take_again`]).
    ListFull,
    /// The same after a step by slabs whose entries would have fitted their list.
    ListFits,
    /// The same after a step in which screening was not sure of more rows than there is room to select again
    /// ([`TrainingStep::set_screen`]).
    TooManyUncertain,
}

/// The buffers that are read after a step.
struct Reported<'a> {
    rows: &'a Buffer,
    clip: &'a Buffer,
    dead: &'a Buffer,
    guard: &'a Buffer,
    uncertain: &'a Buffer,
    distances: &'a Buffer,
    /// The statistics of the rows of narrower levels.
    inner: Vec<&'a Buffer>,
    /// The same of the gate's reconstruction.
    gate: Option<&'a Buffer>,
    auxiliary: Option<[&'a Buffer; 3]>,
    /// The losses of chunks, and the step's constants.
    penalty: Option<[&'a Buffer; 2]>,
}

impl<'a> Reported<'a> {
    /// [`ALWAYS`], then the others in their order.
    fn buffers(&self) -> Vec<&'a Buffer> {
        let always: [_; ALWAYS] = [self.rows, self.clip, self.dead, self.guard, self.uncertain, self.distances];
        let fields = self.inner.iter().copied().chain(self.gate).chain(self.auxiliary.into_iter().flatten());
        always.into_iter().chain(fields).chain(self.penalty.into_iter().flatten()).collect()
    }
}

/// Steps from one audit of the screening to the next, and rows that are looked at.
const AUDIT_STEPS: u32 = 256;
const AUDIT_ROWS: u32 = 8;

/// Buffers that are read after the step of any architecture.
const ALWAYS: usize = 6;

impl TrainingStep {
    /// Makes the optimizer's state for parameters that are on the device, and the program of a step.
    ///
    /// # Errors
    /// [`Error::Config`] if the recipe or the batch cannot be used, [`Error::OutOfMemory`] if the state does not fit,
    /// [`Error::Shader`].
    pub fn new(gpu: &Gpu, parameters: Parameters, recipe: Recipe, tuning: Tuning, world: World) -> Result<Self> {
        recipe.validate_for(parameters.config())?;
        // It never rises.
        let most_k = recipe.k_at(0, parameters.config()).unwrap_or(0);
        let room = Room { rows: recipe.batch, k: most_k };
        let mut forward = Forward::new(gpu, &parameters, room, tuning, Pass::Training)?;
        if let Some(factor) = recipe.row_scale {
            forward.scale_rows(gpu, factor)?;
        }
        let backward = Backward::new(gpu, &parameters, &forward)?;
        let slab = match world {
            World::Solo => Slab::new(gpu, &parameters, &forward, &recipe)?,
            World::Shared => None,
        };
        let mut this = Self {
            variance: Variance::new(&gpu.for_part("batch"), VarianceOf::Input, forward.rows(), parameters.quads())?,
            dead: Dead::new(gpu, &parameters, forward.rows(), tuning.encode)?,
            optimizer: Optimizer::new(gpu, &parameters, recipe.moments)?,
            norms: gpu.pipeline(&parameters.planes().defines())?,
            programs: Stages::new(World::Solo).programs(gpu)?,
            slab_programs: None,
            path: StepPath::Lists,
            world,
            taken: 0,
            finding: Finding { k: most_k as u32, screen: ScreenMode::Complete },
            screen: ScreenMode::Complete,
            audited: 0..0,
            backward,
            parameters,
            forward,
            slab,
            recipe,
        };
        this.programs = this.stages(None).programs(gpu)?;
        let by_slabs = this.slab.as_ref().map(|slab| this.stages(Some(slab)));
        this.slab_programs = by_slabs.map(|stages| stages.programs(gpu)).transpose()?;
        Ok(this)
    }

    /// The step, by lists unless there is a slab.
    fn stages(&self, slab: Option<&Slab>) -> Stages {
        let Self { parameters, forward, variance, backward, optimizer, recipe, .. } = self;
        let rows = forward.rows();
        let gate = forward.gate.as_ref().map(|gate| &gate.field.gradient);
        let second_gradient = self.dead.as_ref().map(|dead| &dead.sums.gradient).or(gate);
        let losses = Losses { parameters, forward, second_gradient, step: &optimizer.step };
        let mut step = Stages::new(self.world);
        step.run(|r| {
            for shard in &parameters.shards {
                r.clear_range(&shard.scalars, parameters.planes().bytes(super::planes::Plane::Run, shard.count));
            }
            forward.record_center(r, parameters, rows);
            variance.record(r, VarianceInputs { x: &forward.x, sums: &forward.field.sums, b_dec: &parameters.b_dec });
            if slab.is_none() {
                forward.record_codes(r, parameters, rows, self.finding);
            }
        });
        step.meet(Exchange::Keys);
        step.run(|r| match slab {
            Some(slab) => slab.record_forward(r, losses),
            None => forward.record_decode(r, parameters, rows),
        });
        step.meet(Exchange::Sums);
        step.run(|r| forward.record_residual(r, parameters, rows));
        if let Some(dead) = &self.dead {
            let inputs = DeadInputs { parameters, forward, variance, optimizer, recipe };
            step.run(|r| dead.record_find(r, inputs));
            step.meet(Exchange::DeadCount);
            step.run(|r| dead.record_select(r, inputs));
            step.meet(Exchange::DeadKeys);
            step.run(|r| dead.record_decode(r, inputs));
            step.meet(Exchange::DeadSums);
            step.run(|r| dead.record_loss(r, inputs));
        }
        step.run(|r| match slab {
            Some(slab) => slab.record_chunks(r, backward, losses, recipe),
            None => backward.record_chunks(r, losses, recipe),
        });
        step.meet(Exchange::Chunks);
        step.run(|r| {
            backward.record_clip(r, losses, recipe);
            optimizer.record(r, backward, losses, recipe, slab);
        });
        step
    }

    /// Puts weights in the place of the parameters.
    ///
    /// # Errors
    /// Those of the weights, and [`Error::DeviceLost`] if the device fails.
    pub fn fill(&self, gpu: &Gpu, weights: &dyn crate::sae::Weights) -> Result<()> {
        self.parameters.fill(gpu, &self.norms, weights)
    }

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

    /// From the next step on, screening is gone by so far; owners that share a model go by it completely.
    pub fn set_screen(&mut self, screen: ScreenMode) {
        self.screen = screen;
    }

    /// Takes the programs of the k of the last step that was begun: those of another are recorded anew.
    fn follow(&mut self, gpu: &Gpu) -> Result<()> {
        let step = u64::from(self.taken.saturating_sub(1));
        let k = self.recipe.k_at(step, self.parameters.config()).unwrap_or(0) as u32;
        let (finding, before) = (Finding { k, screen: self.screen }, self.finding);
        if finding != before {
            self.finding = finding;
            if k != before.k {
                self.forward.entries.set_per_row(gpu, self.forward.rows(), k);
            }
            let programs = self.stages(None).programs(gpu)?;
            std::mem::replace(&mut self.programs, programs).hand_pace_to(&mut self.programs);
        }
        let audited = audited(self.taken, self.forward.rows());
        if audited != self.audited {
            self.forward.selector().audit(gpu, audited.clone());
            self.audited = audited;
        }
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
        self.set_path(match outcome {
            Outcome::Done(_) | Outcome::TooManyUncertain => self.path,
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
        let tensors = state_tensors(self.parameters.config(), self.recipe.moments);
        state::restore(gpu, source, &tensors, &self.state_parts())?;
        self.parameters.compute_norms(gpu, &self.norms)?;
        self.taken = taken;
        self.follow(gpu)
    }

    fn state_parts(&self) -> Vec<Vec<StatePart>> {
        state::state_parts(&self.parameters, &self.optimizer, self.recipe.moments)
    }

    fn reported(&self) -> Reported<'_> {
        let Self { forward, variance, backward, optimizer, dead, .. } = self;
        Reported {
            rows: &forward.row_statistics,
            clip: &backward.clip,
            dead: &optimizer.dead,
            guard: &forward.guard,
            uncertain: forward.selector().uncertain(),
            distances: &variance.distances,
            inner: forward.inner.iter().map(|inner| &inner.row_statistics).collect(),
            gate: forward.gate.as_ref().map(|gate| &gate.row_statistics),
            auxiliary: dead.as_ref().map(|dead| [&dead.row_statistics, &dead.factor, &dead.found]),
            penalty: self.penalty().map(|_| [&backward.chunk_losses, &optimizer.step]),
        }
    }

    /// The name of the penalty on active features, if there is one.
    fn penalty(&self) -> Option<&'static str> {
        self.parameters.description().lists[0].entry.penalty()
    }

    /// Waits for a step's results.
    ///
    /// # Errors
    /// [`Error::Diverged`] if something was not finite: neither this step nor any after it changed the parameters,
    /// unless it was their own update ([`Divergence::ParameterNotFinite`]).
    pub fn results(&self, gpu: &Gpu, pending: Pending) -> Result<Outcome> {
        let results = pending.wait(gpu)?;
        let guard: Guard = results.get(3)[0];
        if is_list_full(guard) {
            return Ok(Outcome::ListFull);
        }
        if does_list_fit(guard) {
            return Ok(Outcome::ListFits);
        }
        if are_too_many_uncertain(guard) {
            return Ok(Outcome::TooManyUncertain);
        }
        check_guard(guard)?;
        let clip: ClipResult = results.get(1)[0];
        let rows: Vec<[f32; 4]> = results.get(0);
        let rows = &rows[..self.recipe.batch];
        let mean_of = |place: usize| {
            let rows: Vec<[f32; 4]> = results.get(place);
            rows[..self.recipe.batch].iter().map(|row| f64::from(row[0])).sum::<f64>() / self.recipe.batch as f64
        };
        let description = self.parameters.description();
        let mut place = ALWAYS;
        let mut losses = Vec::new();
        let inner = self.forward.inner.len();
        for (_, field) in description.fields.iter().enumerate().filter(|(number, _)| *number != inner) {
            if field.list == 0 {
                losses.push((field.name.clone(), field.weight * mean_of(place)));
                place += 1;
            } else {
                // Where none is dead the device computed nothing.
                let found = results.get::<u32>(place + 2)[0] > 0;
                let factor = || f64::from(results.get::<f32>(place + 1)[0]);
                losses.push((field.name.clone(), if found { field.weight * factor() * mean_of(place) } else { 0.0 }));
                place += 3;
            }
        }
        if let Some(name) = self.penalty() {
            let chunks: Vec<[f32; 2]> = results.get(place);
            let sum = |which: usize| chunks.iter().map(|losses| f64::from(losses[which])).sum::<f64>();
            let step: Step = results.get(place + 1)[0];
            let of_row = |row: &[f32; 4]| entry::row_penalty(description.lists[0].entry, row[3].into());
            let of_rows: Option<f64> = rows.iter().map(of_row).sum();
            let of_rows = of_rows.map(|sum| f64::from(step.sparsity) * sum / rows.len() as f64);
            losses.push((name.into(), of_rows.unwrap_or_else(|| sum(0))));
            losses.extend(description.closed_form.map(|_| ("pre_act_loss".into(), sum(1))));
        }
        Ok(Outcome::Done(StepResults {
            squared_errors: rows.iter().map(|row| row[0]).collect(),
            variance: results.get::<f32>(5)[..self.recipe.batch].iter().map(|&distance| f64::from(distance)).sum(),
            losses,
            active: rows.iter().map(|row| f64::from(row[3])).sum(),
            gradient_norm: clip.norm,
            dead: results.get(2)[0],
            uncertain_rows: results.get(4)[0],
        }))
    }

    /// The threshold that the SAE is used with, if it is one for all features and a step kept any.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device fails.
    pub fn threshold(&self, gpu: &Gpu) -> Result<Option<f32>> {
        self.optimizer.threshold.as_ref().map_or(Ok(None), |threshold| threshold.read(gpu))
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The forward pass's buffers, as the last step left them.
    pub fn forward(&self) -> &Forward {
        &self.forward
    }

    /// The backward pass's buffers, as the last step left them.
    pub fn backward(&self) -> &Backward {
        &self.backward
    }
}

/// Whether entries did not fit their list. What follows from a full list need not be finite; the rows do not follow
/// from it.
pub fn is_list_full(guard: Guard) -> bool {
    guard.status & center::LIST_FULL != 0 && guard.status & center::INPUT_NOT_FINITE == 0
}

/// Whether a step by slabs was not needed. Lists have the same rows, and find again what else is wrong.
fn does_list_fit(guard: Guard) -> bool {
    guard.status & center::LIST_FITS != 0 && guard.status & center::INPUT_NOT_FINITE == 0
}

/// Whether screening left more rows uncertain than there is room to select again.
fn are_too_many_uncertain(guard: Guard) -> bool {
    guard.status & rerun::TOO_MANY_UNCERTAIN != 0 && guard.status & center::INPUT_NOT_FINITE == 0
}

/// The rows that are selected again in f32 in the step of this number, to see whether screening found the same: in a
/// long run each of a batch comes to its turn.
fn audited(step: u32, rows: u32) -> Range<u32> {
    if step % AUDIT_STEPS != 1 {
        return 0..0;
    }
    let first = step / AUDIT_STEPS * AUDIT_ROWS % rows;
    first..rows.min(first + AUDIT_ROWS)
}

/// Fails if a guard is raised.
///
/// # Errors
/// [`Error::Diverged`], or [`Error::Device`] if a list is full or screening was caught to be wrong.
pub fn check_guard(guard: Guard) -> Result<()> {
    use center::{GRADIENT_NOT_FINITE, INPUT_NOT_FINITE, LOSS_NOT_FINITE};
    // The complement of the row is that of shaders/shared/guard.wgsl.
    let row = Some(u64::from(!guard.row));
    let raised = |bit: u32| guard.status & bit != 0;
    if is_list_full(guard) {
        return Err(Error::Device(
            "the active features of these rows do not fit their list: take fewer rows at a time".into(),
        ));
    }
    let (what, row) = match guard.status {
        0 => return Ok(()),
        rerun::SCREENED_WRONGLY => {
            return Err(Error::Device(format!(
                "f16 screening found other features than f32 in row {} of the batch: this device or its driver computes \
                 wrongly now and then. Of the last {AUDIT_STEPS} steps any may be wrong: resume from a checkpoint \
                 before them, with --screening f32",
                !guard.row
            )));
        }
        _ if raised(INPUT_NOT_FINITE) => (Divergence::InputNotFinite, row),
        _ if raised(LOSS_NOT_FINITE) => (Divergence::LossNotFinite, row),
        _ if raised(GRADIENT_NOT_FINITE) => (Divergence::GradientNotFinite, None),
        _ => (Divergence::ParameterNotFinite, None),
    };
    Err(Error::Diverged { step: None, row, file: None, what })
}
