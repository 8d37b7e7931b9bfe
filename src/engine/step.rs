//! A training step: the forward pass, gradients over the sparse entries, clipping, Adam. `TrainingStep::stages` is
//! the step in one place. Nothing of size features · d is held but the parameters and their moments.

mod follow;
mod held_out;
mod results;
mod submit;

use std::ops::Range;

use super::apply::Optimizer;
use super::backward::{Backward, Losses};
use super::dead::{Dead, DeadInputs};
use super::entries::Pass;
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
use crate::error::Result;
use crate::gpu::{Gpu, LONGEST_SUBMISSION, Pipeline, shaders};
use follow::Recorded;
pub use results::{Outcome, StepResults, check_guard, is_list_full};

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
    recorded: Recorded,
    /// Of the steps that follow.
    screen: ScreenMode,
    dead_room: u32,
    halvings: u32,
    /// Seconds that a dispatch over a chunk should take at most; none where nothing else waits for the device.
    longest_chunk: Option<f64>,
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
        let finding = Finding { k: most_k as u32, screen: ScreenMode::Complete, halvings: 0 };
        let recorded = Recorded { finding, dead_room: parameters.features() };
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
            recorded,
            dead_room: recorded.dead_room,
            screen: ScreenMode::Complete,
            halvings: 0,
            longest_chunk: (!gpu.description().takes_cpu_kernels()).then_some(LONGEST_SUBMISSION),
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
                forward.record_codes(r, parameters, rows, self.recorded.finding);
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
            let Recorded { finding: Finding { halvings, .. }, dead_room: room } = self.recorded;
            let inputs = DeadInputs { parameters, forward, variance, optimizer, recipe, room, halvings };
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
