//! The training loop: batches in, steps submitted ahead of their results, progress out.

use std::collections::VecDeque;

use super::Profile;
use super::screening::ScreeningPolicy;
use crate::data::{Batch, Provenance, RowNumbers};
use crate::engine::parameters::{DeviceWeights, Parameters};
use crate::engine::path::StepPath;
use crate::engine::planes::Planes;
use crate::engine::recipe::Recipe;
use crate::engine::select::{ScreenMode, Screening, SelectionMethod, Tuning};
use crate::engine::stage::World;
use crate::engine::state::{StateSink, StateSource};
use crate::engine::step::{Outcome, StepInput, StepResults, TrainingStep};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Pending, Timing};
use crate::sae::description::{Keep, ListSpec};
use crate::sae::{Sae, SaeConfig, Weights, as_trained};

/// Results of a finished step.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Number of the step, the first being 1.
    pub step: u64,
    /// Rows seen so far, this step's included.
    pub tokens: u64,
    /// Squared error, summed over d, averaged over the batch.
    pub loss: f64,
    /// Fraction of variance unexplained: the batch's squared error over its variance about its own mean.
    pub fvu: f64,
    /// The losses other than that of the whole reconstruction by name, weighted as they are trained on.
    pub losses: Vec<(String, f64)>,
    /// Active features per row.
    pub l0: f64,
    /// Norm of the whole gradient, before clipping.
    pub gradient_norm: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// The step's k, where the recipe has it fall.
    pub k: Option<usize>,
    /// The step's coefficient of the penalty on active features, where there is one.
    pub sparsity_coefficient: Option<f64>,
    /// Features that have not fired for the recipe's window of tokens.
    pub dead: u32,
    /// Rows that were selected in f32 because screening could not prove theirs: all of them where there had been too
    /// many.
    pub uncertain_rows: u32,
    /// How it was computed, where active features may not fit their list.
    pub path: Option<StepPath>,
}

struct InFlight {
    pending: Pending,
    timing: Option<Timing>,
    learning_rate: f64,
    path: StepPath,
    screen: Option<ScreenMode>,
    /// The rows of the data that are in the batch, where that is known.
    numbers: RowNumbers,
    /// The batch, if it may have to be taken again.
    batch: Option<Batch>,
}

/// Trains one SAE on one device, step by step.
pub struct Trainer {
    pub(super) gpu: Gpu,
    recipe: Recipe,
    pub(super) step: TrainingStep,
    in_flight: VecDeque<InFlight>,
    /// Finished ahead of being asked for.
    settled: VecDeque<Progress>,
    /// A list may be full, dead features too many or screening unsure, and batches are kept until their steps are known to be taken.
    may_take_again: bool,
    screening: Option<ScreeningPolicy>,
    /// [`Trainer::fill_list`].
    forced_fills: u32,
    submitted: u64,
    finished: u64,
    profile: Option<Profile>,
    /// Steps that are not timed before it.
    profiled_from: u64,
    method: SelectionMethod,
}

/// Steps that the device may be behind: enough to keep it busy, few enough that its queue stays short.
const STEPS_AHEAD: usize = 2;

impl Trainer {
    /// Compiles the kernels and puts the SAE on the device.
    ///
    /// # Errors
    /// [`Error::Config`] for an unusable recipe, [`Error::Shader`] or [`Error::OutOfMemory`] if the device cannot take
    /// it, and those of the weights.
    pub fn new(gpu: &Gpu, initial: &dyn Weights, recipe: Recipe) -> Result<Self> {
        let tuning = Tuning::estimated(gpu.description(), initial.config(), recipe.batch, Screening::Auto);
        Self::with_tuning(gpu, initial, recipe, tuning)
    }

    /// As [`Trainer::new`], with the kernels of the selection given; the result is the same.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with_tuning(gpu: &Gpu, initial: &dyn Weights, recipe: Recipe, tuning: Tuning) -> Result<Self> {
        let this = Self::allocate(gpu, initial.config(), recipe, tuning)?;
        this.step.fill(gpu, initial)?;
        Ok(this)
    }

    /// As [`Trainer::with_tuning`], but resumes from a state that was copied after `steps` steps.
    ///
    /// # Errors
    /// As [`Trainer::new`], and those of the source.
    pub fn resume(
        gpu: &Gpu,
        config: &SaeConfig,
        recipe: Recipe,
        tuning: Tuning,
        steps: u64,
        source: &mut dyn StateSource,
    ) -> Result<Self> {
        let mut this = Self::allocate(gpu, config, recipe, tuning)?;
        // A recipe has fewer than 2^32 steps.
        this.step.restore_state(gpu, source, steps as u32)?;
        (this.submitted, this.finished) = (steps, steps);
        Ok(this)
    }

    /// All that a run has on the device, with weights of zero.
    pub(crate) fn allocate(gpu: &Gpu, config: &SaeConfig, recipe: Recipe, tuning: Tuning) -> Result<Self> {
        let parameters = Parameters::allocate(gpu, config, Planes::training(&config.describe()))?;
        let mut step = TrainingStep::new(gpu, parameters, recipe.clone(), tuning, World::Solo)?;
        let method = step.forward().selector().method();
        let screening = ScreeningPolicy::new(method, config.usual_l0());
        step.set_screen(screening.as_ref().map(|screening| screening.mode(0)).unwrap_or_default());
        step.make_room_for_dead(0);
        step.follow(gpu)?;
        let lists = config.describe().lists;
        let may_fill = |list: &ListSpec| matches!(list.keep, Keep::Admitted { .. } | Keep::Dead { .. });
        // One more than are ahead: the oldest is read after the newest is submitted.
        step.reserve_staging(gpu, STEPS_AHEAD + 1)?;
        Ok(Self {
            gpu: gpu.clone(),
            recipe,
            step,
            in_flight: VecDeque::new(),
            settled: VecDeque::new(),
            may_take_again: screening.is_some() || lists.iter().any(may_fill),
            screening,
            forced_fills: 0,
            submitted: 0,
            finished: 0,
            profile: None,
            profiled_from: 0,
            method,
        })
    }

    /// Times every kernel from the next step but one on; what is submitted together is known by then. Copied steps are
    /// left out.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no timestamps.
    pub fn start_profile(&mut self) -> Result<()> {
        if !self.gpu.description().timestamps {
            return Err(Error::Device(format!("{} has no timestamps to profile with", self.gpu.description().name)));
        }
        self.profile = Some(Profile::default());
        self.profiled_from = self.submitted + 1;
        Ok(())
    }

    /// The method that finds the active features: as was asked for, unless the device does not compute what that relies
    /// on.
    pub fn method(&self) -> SelectionMethod {
        self.method
    }

    /// Has the next step go the way of the step before a state that was restored.
    pub fn set_path(&mut self, path: StepPath) {
        self.step.set_path(path);
    }

    /// Where the time of the finished steps went, since [`Trainer::start_profile`].
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// Submits a step at the schedule's learning rate, and returns the oldest unfinished step once enough are under
    /// way.
    ///
    /// # Errors
    /// As [`Trainer::next_finished`].
    pub fn step(&mut self, batch: &Batch) -> Result<Option<Progress>> {
        let is_timed = self.profile.is_some() && self.submitted >= self.profiled_from;
        self.submit(batch, |step, gpu, input| match is_timed {
            true => step.submit_and_time(gpu, input).map(|(pending, timing)| (pending, Some(timing))),
            false => Ok((step.submit(gpu, input)?, None)),
        })?;
        self.finish_one_of_many()
    }

    /// As [`Trainer::step`], and meanwhile copies the state as it is before this step to `sink`.
    ///
    /// # Errors
    /// As [`Trainer::step`], and those of the sink.
    pub fn step_and_copy(&mut self, batch: &Batch, sink: &mut dyn StateSink) -> Result<Option<Progress>> {
        self.settle()?;
        self.submit(batch, |step, gpu, input| Ok((step.submit_and_copy(gpu, input, sink)?, None)))?;
        self.finish_one_of_many()
    }

    fn finish_one_of_many(&mut self) -> Result<Option<Progress>> {
        let are_many = self.settled.len() + self.in_flight.len() > STEPS_AHEAD;
        if are_many { self.next_finished() } else { Ok(None) }
    }

    fn submit(
        &mut self,
        batch: &Batch,
        submit: impl FnOnce(&mut TrainingStep, &Gpu, StepInput<'_>) -> Result<(Pending, Option<Timing>)>,
    ) -> Result<()> {
        if let Some(left) = self.forced_fills.checked_sub(1) {
            self.forced_fills = left;
            self.step.raise_list_full(&self.gpu);
        }
        let (learning_rate, path) = (self.recipe.learning_rate_at(self.submitted), self.step.path());
        let screen = self.screening.as_ref().map(|screening| screening.mode(self.submitted));
        self.step.set_screen(screen.unwrap_or_default());
        let input = StepInput { rows: batch.rows.view(), learning_rate };
        let (pending, timing) = submit(&mut self.step, &self.gpu, input)?;
        let kept = self.may_take_again.then(|| batch.clone());
        let numbers = batch.numbers.clone();
        self.in_flight.push_back(InFlight { pending, timing, learning_rate, path, screen, numbers, batch: kept });
        self.submitted += 1;
        Ok(())
    }

    /// Copies the state as it is after every step submitted so far to `sink`, and waits for it.
    ///
    /// # Errors
    /// As [`Trainer::next_finished`], and those of the sink.
    pub fn copy_state(&mut self, sink: &mut dyn StateSink) -> Result<()> {
        self.settle()?;
        self.step.copy_state(&self.gpu, sink)
    }

    /// Waits for every step that may have to be taken again: a copy of the state must be that of all steps before it.
    fn settle(&mut self) -> Result<()> {
        while self.may_take_again
            && let Some(progress) = self.finish_oldest()?
        {
            self.settled.push_back(progress);
        }
        Ok(())
    }

    /// Feature shards.
    pub fn shards(&self) -> usize {
        self.step.parameters().shards.len()
    }

    /// Steps submitted so far, those before a restored state included.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// What rows are multiplied by.
    pub(super) fn row_scale(&self) -> f64 {
        self.recipe.row_scale.map_or(1.0, f64::from)
    }

    /// Rows of the steps submitted so far.
    pub(super) fn tokens_submitted(&self) -> u64 {
        self.submitted * self.recipe.batch as u64
    }

    /// Steps whose results have been returned.
    pub fn finished(&self) -> u64 {
        self.finished - self.settled.len() as u64
    }

    /// Whether a step is under way, or finished and not returned yet.
    pub fn is_ahead(&self) -> bool {
        self.submitted > self.finished()
    }

    /// Gives up the steps that are under way after one that diverged without changing the model, so that the state is
    /// that after the finished ones.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub(crate) fn take_back(&mut self) -> Result<()> {
        for InFlight { pending, .. } in std::mem::take(&mut self.in_flight) {
            pending.wait(&self.gpu)?;
        }
        self.step.take_back(&self.gpu, (self.submitted - self.finished) as u32);
        self.submitted = self.finished;
        Ok(())
    }

    /// Waits for the oldest unfinished step; none if all are finished. If entries did not fit their list, it and those
    /// after it are taken again, with the same result as if they had fitted at once.
    ///
    /// # Errors
    /// [`Error::Diverged`] naming the step, and the row by [`Batch::numbers`], if something in it was not finite: the
    /// parameters are those before it,
    /// unless its own update made one of them so. [`Error::Device`] if a list stays full.
    pub fn next_finished(&mut self) -> Result<Option<Progress>> {
        match self.settled.pop_front() {
            Some(progress) => Ok(Some(progress)),
            None => self.finish_oldest(),
        }
    }

    fn finish_oldest(&mut self) -> Result<Option<Progress>> {
        // By lists, by slabs, and by lists again where the list was not full after all; or screened, in f32, and with
        // room for all dead features.
        for _attempt in 0..3 {
            let Some(oldest) = self.in_flight.pop_front() else { return Ok(None) };
            let InFlight { pending, timing, learning_rate, path, screen, numbers, batch } = oldest;
            let outcome = self.step.results(&self.gpu, pending).map_err(|error| match error {
                Error::Diverged { row, file, what, .. } => {
                    let row = row.map(|place| numbers.get(place as usize).copied().unwrap_or(place));
                    Error::Diverged { step: Some(self.finished + 1), row, file, what }
                }
                other => other,
            })?;
            match outcome {
                Outcome::Done(mut results) => {
                    self.add_to_profile(timing)?;
                    self.finished += 1;
                    self.step.make_room_for_dead(results.dead);
                    match (&mut self.screening, screen) {
                        (Some(_), Some(ScreenMode::Off)) => results.uncertain_rows = self.recipe.batch as u32,
                        (Some(screening), _) => screening.finished(results.uncertain_rows > 0),
                        (None, _) => {}
                    }
                    return Ok(Some(self.progress(results, learning_rate, path)));
                }
                outcome => self.take_again(&outcome, batch)?,
            }
        }
        Err(self.list_is_full())
    }

    /// Takes the oldest step, which ended so and whose batch this is, and all after it again.
    fn take_again(&mut self, outcome: &Outcome, oldest: Option<Batch>) -> Result<()> {
        if let (Outcome::TooManyUncertain, Some(screening)) = (outcome, &mut self.screening) {
            let is_first = !screening.has_given_way();
            let steps = screening.gives_way(self.finished);
            if is_first {
                log::warn!(
                    "step {}: f16 screening is not sure of many rows, so the next {steps} steps find their features in \
                     f32, and later ones where that happens again; no result depends on it",
                    self.finished + 1
                );
            }
        }
        let mut batches = vec![oldest];
        for InFlight { pending, batch, .. } in std::mem::take(&mut self.in_flight) {
            pending.wait(&self.gpu)?;
            batches.push(batch);
        }
        let batches: Option<Vec<Batch>> = batches.into_iter().collect();
        let batches = batches.ok_or_else(|| self.list_is_full())?;
        self.step.take_again(&self.gpu, outcome, batches.len() as u32);
        self.submitted -= batches.len() as u64;
        batches.iter().try_for_each(|batch| self.submit(batch, |step, gpu, input| Ok((step.submit(gpu, input)?, None))))
    }

    fn list_is_full(&self) -> Error {
        Error::Device(format!(
            "the active features of step {} do not fit their list of {} entries: take a larger --list-capacity, a \
             smaller batch, or a start with fewer active features",
            self.finished + 1,
            self.step.forward().entries.second
        ))
    }

    /// Has the next `times` submissions find a list full, whether it is or not.
    #[doc(hidden)]
    pub fn fill_list(&mut self, times: u32) {
        (self.may_take_again, self.forced_fills) = (true, times);
    }

    fn add_to_profile(&mut self, timing: Option<Timing>) -> Result<()> {
        match (&mut self.profile, timing) {
            (Some(profile), Some(timing)) => profile.add(&timing.wait(&self.gpu)?),
            (Some(profile), None) => profile.interrupt(),
            (None, _) => {}
        }
        Ok(())
    }

    /// Of the last finished step.
    fn progress(&self, results: StepResults, learning_rate: f64, path: StepPath) -> Progress {
        let batch = self.recipe.batch as f64;
        let squared_error: f64 = results.squared_errors.iter().map(|&error| f64::from(error)).sum();
        let config = self.step.parameters().config();
        let coefficient = config.describe().lists[0].entry.sparsity();
        Progress {
            step: self.finished,
            tokens: self.finished * self.recipe.batch as u64,
            loss: squared_error / batch,
            fvu: squared_error / results.variance,
            losses: results.losses,
            l0: results.active / batch,
            gradient_norm: results.gradient_norm.into(),
            learning_rate,
            k: self.recipe.k_annealing.and_then(|_| self.recipe.k_at(self.finished - 1, config)),
            sparsity_coefficient: coefficient.map(|most| most * self.recipe.sparsity_at(self.finished - 1)),
            dead: results.dead,
            uncertain_rows: results.uncertain_rows,
            path: self.step.has_slabs().then_some(path),
        }
    }

    /// The threshold that the SAE is used with after every step submitted so far, if it is one for all features and a
    /// step kept any.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] or [`Error::Device`] if the device fails.
    pub fn threshold(&self) -> Result<Option<f32>> {
        self.step.threshold(&self.gpu)
    }

    /// The SAE as it is after every step submitted so far, on the device: for rows times [`Recipe::row_scale`].
    pub fn weights(&self, provenance: Provenance) -> DeviceWeights<'_> {
        self.step.parameters().weights(&self.gpu, provenance)
    }
}

/// Trains an SAE on every batch, tells of each finished step, and gives it on the host, for rows as they come.
///
/// # Errors
/// Those of the batches, [`Trainer::new`], [`Trainer::step`] and `on_progress`.
pub fn train(
    gpu: &Gpu,
    initial: &dyn Weights,
    recipe: Recipe,
    batches: impl IntoIterator<Item = Result<Batch>>,
    mut on_progress: impl FnMut(&Progress) -> Result<()>,
) -> Result<Sae> {
    let mut trainer = Trainer::new(gpu, initial, recipe)?;
    for batch in batches {
        if let Some(progress) = trainer.step(&batch?)? {
            on_progress(&progress)?;
        }
    }
    while let Some(progress) = trainer.next_finished()? {
        on_progress(&progress)?;
    }
    let weights = trainer.weights(initial.provenance().clone());
    Sae::read(&*as_trained(weights, trainer.threshold()?, trainer.recipe.row_scale)?)
}
