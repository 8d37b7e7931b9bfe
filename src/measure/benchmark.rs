//! Measures training steps: the one core of `monosem bench`, `monosem plan` and the scripts in benches/.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::data::RowsView;
use crate::engine::parameters::Parameters;
use crate::engine::planes::Planes;
use crate::engine::recipe::Recipe;
use crate::engine::select::{ScreenMode, SelectionMethod, Tuning};
use crate::engine::stage::World;
use crate::engine::step::{Outcome, StepInput, TrainingStep};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Pending, Span};
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::{SaeConfig, Weights};
use crate::train::{BiasStart, Initialization};

/// An operation in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timed {
    /// On the device's clock, all its dispatches together.
    pub seconds: f64,
    /// Its dispatches, those that find nothing to do included.
    pub dispatches: usize,
}

/// Steps on batches that come in turn, so that no cache holds the next one.
pub struct StepBenchmark {
    gpu: Gpu,
    step: TrainingStep,
    batches: Vec<Vec<f32>>,
    tuning: Tuning,
    learning_rate: f64,
    taken: usize,
}

impl StepBenchmark {
    /// Puts initial weights on the device and takes a first step, which is not timed. `batches` are `[batch, d]` rows
    /// each.
    ///
    /// # Errors
    /// Those of [`crate::train::Trainer::with_tuning`]; [`crate::Error::Config`] if there is no batch.
    pub fn new(gpu: &Gpu, config: &SaeConfig, recipe: Recipe, tuning: Tuning, batches: Vec<Vec<f32>>) -> Result<Self> {
        let first = batches.first().ok_or_else(|| crate::Error::Config("there is no batch to time".into()))?;
        let initial = quick_start(Initialization::default()).start(gpu, config, 0, first)?;
        Self::with_weights(gpu, &initial, recipe, tuning, batches)
    }

    /// As [`StepBenchmark::new`], from these weights on: those of a trained SAE have features that fire on most rows.
    ///
    /// # Errors
    /// As [`StepBenchmark::new`].
    pub fn with_weights(
        gpu: &Gpu,
        weights: &dyn Weights,
        recipe: Recipe,
        tuning: Tuning,
        batches: Vec<Vec<f32>>,
    ) -> Result<Self> {
        let config = weights.config();
        let parameters = Parameters::allocate(gpu, config, Planes::training(&config.describe()))?;
        let learning_rate = recipe.learning_rate;
        let mut step = TrainingStep::new(gpu, parameters, recipe, tuning, World::Solo)?;
        step.fill(gpu, weights)?;
        let tuning = Tuning { method: step.forward().selector().method(), ..tuning };
        if let SelectionMethod::Screened { groups, .. } = tuning.method {
            // As in training.
            step.set_screen(ScreenMode::Optimistic { groups });
        }
        let mut this = Self { gpu: gpu.clone(), step, batches, tuning, learning_rate, taken: 0 };
        this.step()?;
        Ok(this)
    }

    /// The kernels that find the active features.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Takes a step and waits for it: its seconds on the host's clock.
    ///
    /// # Errors
    /// [`crate::Error::Diverged`], and those of the device.
    pub fn step(&mut self) -> Result<f64> {
        let start = Instant::now();
        let input = next_input(&self.batches, &mut self.taken, self.learning_rate);
        let pending = self.step.submit(&self.gpu, input)?;
        match self.finish(pending)? {
            true => Ok(start.elapsed().as_secs_f64()),
            false => self.step(),
        }
    }

    /// Takes a step: the times of its dispatches on the device's clock.
    ///
    /// # Errors
    /// As [`StepBenchmark::step`], and [`crate::Error::Device`] where the device has no timestamps.
    pub fn spans(&mut self) -> Result<Vec<Span>> {
        let input = next_input(&self.batches, &mut self.taken, self.learning_rate);
        let (pending, timing) = self.step.submit_and_time(&self.gpu, input)?;
        match self.finish(pending)? {
            true => timing.wait(&self.gpu),
            false => self.spans(),
        }
    }

    /// Whether the step was taken; if not, the next one goes the other way.
    fn finish(&mut self, pending: Pending) -> Result<bool> {
        match self.step.results(&self.gpu, pending)? {
            Outcome::Done(_) => Ok(true),
            Outcome::ListFull if !self.step.has_slabs() => {
                Err(Error::Device("active features do not fit their list: the step was not taken".into()))
            }
            outcome => {
                if outcome == Outcome::TooManyUncertain {
                    self.step.set_screen(ScreenMode::Complete);
                }
                self.step.take_again(&self.gpu, &outcome, 1);
                Ok(false)
            }
        }
    }

    /// Each operation in a step, by the median of `repeats` steps.
    ///
    /// # Errors
    /// As [`StepBenchmark::spans`].
    pub fn operations(&mut self, repeats: usize) -> Result<BTreeMap<String, Timed>> {
        let mut steps: BTreeMap<String, Vec<Timed>> = BTreeMap::new();
        for repeat in 0..repeats {
            for span in self.spans()? {
                let steps = steps.entry(span.operation().to_owned()).or_insert_with(|| vec![Timed::default(); repeats]);
                steps[repeat].seconds += span.seconds();
                steps[repeat].dispatches += 1;
            }
        }
        let timed = |steps: Vec<Timed>| Timed {
            seconds: median(steps.iter().map(|step| step.seconds).collect()),
            // That of every step, unless one went another way.
            dispatches: steps.iter().map(|step| step.dispatches).max().unwrap_or_default(),
        };
        Ok(steps.into_iter().map(|(operation, steps)| (operation, timed(steps))).collect())
    }
}

/// The next of the batches that come in turn.
fn next_input<'a>(batches: &'a [Vec<f32>], taken: &mut usize, learning_rate: f64) -> StepInput<'a> {
    *taken += 1;
    StepInput { rows: RowsView::F32(&batches[*taken % batches.len()]), learning_rate }
}

/// The same with `b_dec` at the rows' mean, which takes no time to find and changes that of no step.
pub fn quick_start(initialization: Initialization) -> Initialization {
    Initialization { b_dec: BiasStart::Mean, ..initialization }
}

/// The middle of some times, 0 of none.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Rows `[count, d]` that an SAE can learn: sums of 24 of 8 d fixed directions, and noise.
pub fn synthetic_rows(count: usize, d: usize, seed: u64) -> Vec<f32> {
    let (rng, noise) = (Rng::new(0, Purpose::Weights), Rng::new(1 + seed, Purpose::Weights));
    let atom = |atom: u32, at: usize| symmetric(rng.block(atom.into(), at as u32 / 4)[at % 4]);
    let mut rows = Vec::with_capacity(count * d);
    for row in 0..count {
        let draws: Vec<_> = (0..24).map(|term| noise.block(row as u64, term)).collect();
        for at in 0..d {
            let sum: f32 =
                draws.iter().map(|[a, w, ..]| (1.0 + symmetric(*w) / 2.0) * atom(a % (8 * d as u32), at)).sum();
            rows.push(sum / (d as f32).sqrt() + 0.05 * symmetric(noise.block((count + row) as u64, at as u32)[0]));
        }
    }
    rows
}
