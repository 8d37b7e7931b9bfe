//! Measures which kernels find the codes fastest on a device, for a run's own sizes.

use std::mem::discriminant;
use std::time::{Duration, Instant};

use super::selection::{SelectionArguments, SelectionScratch};
use super::{Plan, Recipe, initialize};
use crate::error::{Error, Result};
use crate::gpu::{AdapterDescription, Buffer, Gpu, Recording, Span};
use crate::kernels::{BLOCK_FEATURES, Codes, EncodeVariant, Norms, Selection, SelectionMethod, Tuning};
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::{Parameters, SaeConfig, pad_rows};

/// How much is spent on measuring, and from what size of a run on.
struct Effort {
    /// Multiply-adds of one measurement, about, at two operations each.
    flops: u64,
    /// Rows of one measurement at most.
    rows: usize,
    /// No further candidate is begun after this.
    limit: Duration,
    /// Below so many operations of `encode` in a step, or in the whole run, measuring takes longer than it can save.
    step_flops: u64,
    run_flops: u64,
}

/// A measurement takes a twentieth of a second or so.
const SOFTWARE: Effort = Effort {
    flops: 1_000_000_000,
    rows: 1024,
    limit: Duration::from_secs(4),
    step_flops: 500_000_000,
    run_flops: 1_000_000_000_000,
};

/// A measurement takes from 5 ms on a large GPU to 0.1 s on a small one.
const HARDWARE: Effort = Effort {
    flops: 100_000_000_000,
    rows: 8192,
    limit: Duration::from_secs(2),
    step_flops: 5_000_000_000,
    run_flops: 300_000_000_000_000,
};

/// Measurements of a candidate, of which the shortest counts, after one that is not counted.
const REPEATS: usize = 3;

/// What another candidate must save to take the place of the usual one: less is within what measurements differ by.
const MARGIN: f64 = 0.03;

fn effort(adapter: &AdapterDescription) -> &'static Effort {
    if adapter.is_software() { &SOFTWARE } else { &HARDWARE }
}

/// Whether a run is long enough to win back what [`autotune`] takes.
pub fn autotune_pays(adapter: &AdapterDescription, config: &SaeConfig, recipe: &Recipe) -> bool {
    let step = 2 * (recipe.batch as u64).saturating_mul(config.d_in as u64).saturating_mul(config.features as u64);
    let Effort { step_flops, run_flops, .. } = *effort(adapter);
    adapter.timestamps && step >= step_flops && step.saturating_mul(recipe.steps) >= run_flops
}

/// The fastest kernels of those that the device can run, by measurement; the usual ones where it has no clock. First the
/// shapes of `encode` are compared, then with the best of them the selection methods that fit the device's memory.
///
/// # Errors
/// [`Error::DeviceLost`]; a candidate that cannot be run is no error.
pub fn autotune(gpu: &Gpu, config: &SaeConfig, recipe: &Recipe) -> Result<Tuning> {
    let adapter = gpu.description();
    let usual = config.usual_tuning(adapter, recipe.batch);
    if gpu.is_on_paper() || !adapter.timestamps {
        return Ok(usual);
    }
    // With an account and readbacks of its own, so that the run's begin as if nothing had been.
    let gpu = &gpu.with_max_binding_bytes(gpu.max_binding_bytes());
    Ok(possible(measure(gpu, config, recipe, usual))?.unwrap_or(usual))
}

fn measure(gpu: &Gpu, config: &SaeConfig, recipe: &Recipe, usual: Tuning) -> Result<Tuning> {
    let adapter = gpu.description();
    let started = Instant::now();
    let is_late = || started.elapsed() > effort(adapter).limit;
    let sample = Sample::new(gpu, config, recipe.batch, effort(adapter))?;
    let large = sample.parameters(sample.features)?;

    let mut best = sample.candidate(&large, usual)?;
    let mut to_beat = best.times.encode * (1.0 - MARGIN);
    let is_of_same_shader = |variant: &EncodeVariant| discriminant(variant) == discriminant(&usual.encode);
    for encode in EncodeVariant::available(adapter).into_iter().filter(is_of_same_shader) {
        if encode == usual.encode || is_late() {
            continue;
        }
        if let Some(candidate) = possible(sample.candidate(&large, Tuning { encode, ..usual }))?
            && candidate.times.encode < to_beat
        {
            to_beat = candidate.times.encode;
            best = candidate;
        }
    }

    let small = sample.parameters((sample.features / 2).max(config.k))?;
    // Every part of a selection is linear in the number of features.
    let whole = |candidate: &Candidate| {
        let (grown, between) = (config.features - sample.features, sample.features - small.config().features);
        let slope = match (grown, between) {
            (0, _) | (_, 0) => 0.0,
            _ => (candidate.times.all - sample.time(candidate, &small)?.all) / between as f64,
        };
        Ok(candidate.times.all + slope.max(0.0) * grown as f64)
    };
    let fits = |tuning| {
        let needed = Plan::of(adapter, config, recipe, tuning)?.needed(adapter);
        Ok::<_, Error>(adapter.memory.as_ref().is_none_or(|memory| needed <= memory.available))
    };
    let (mut tuning, mut to_beat) = (best.tuning, whole(&best)? * (1.0 - MARGIN));
    for method in SelectionMethod::available(adapter, tuning.encode, config.selection_shape(recipe.batch)) {
        let other = Tuning { method, ..tuning };
        if method == usual.method || is_late() || !fits(other)? {
            continue;
        }
        let seconds = sample.candidate(&large, other).and_then(|candidate| whole(&candidate));
        if let Some(seconds) = possible(seconds)?
            && seconds < to_beat
        {
            (tuning, to_beat) = (other, seconds);
        }
    }
    Ok(tuning)
}

/// What a device refuses is left out; without the device there is nothing.
fn possible<T>(measured: Result<T>) -> Result<Option<T>> {
    match measured {
        Ok(measured) => Ok(Some(measured)),
        Err(Error::DeviceLost(reason)) => Err(Error::DeviceLost(reason)),
        Err(error) => {
            tracing::warn!("not measured: {error}");
            Ok(None)
        }
    }
}

/// Seconds of one selection.
#[derive(Clone, Copy)]
struct Times {
    encode: f64,
    all: f64,
}

/// Kernels that were timed.
struct Candidate {
    tuning: Tuning,
    kernels: Selection,
    times: Times,
}

/// A part of a run that is small enough to be measured.
struct Sample<'a> {
    gpu: &'a Gpu,
    config: &'a SaeConfig,
    /// Features at most.
    features: usize,
    rows: usize,
    /// The rows, random ones.
    centred: Buffer,
}

impl<'a> Sample<'a> {
    fn new(gpu: &'a Gpu, config: &'a SaeConfig, batch: usize, effort: &Effort) -> Result<Self> {
        let rows = batch.min(effort.rows);
        let block = BLOCK_FEATURES as usize;
        let affordable = effort.flops as usize / (2 * rows * config.d_in);
        // Half of them must still hold k groups of 16, as the whole does.
        let representative = (2 * 16 * config.k).div_ceil(block).max(1);
        let features = ((affordable / block).max(representative) * block).min(config.features);
        let rng = Rng::new(0, Purpose::Shuffle);
        let values = (0..(rows * config.d_in).div_ceil(4) as u64).flat_map(|at| rng.block(at, 0)).map(symmetric);
        let values: Vec<f32> = values.take(rows * config.d_in).collect();
        let mut padded = Vec::new();
        pad_rows(&values, config.d_in, &mut padded);
        Ok(Self { gpu, config, features, rows, centred: gpu.buffer_from("rows to measure with", &padded)? })
    }

    /// Weights of so many features.
    fn parameters(&self, features: usize) -> Result<Parameters> {
        let config = SaeConfig { features, ..self.config.clone() };
        // The decoder bias, which is all that is made from rows, has no part in a selection.
        let initial = initialize(&config, 0, &vec![0.0; config.d_in])?;
        Parameters::upload(self.gpu, &Norms::new(self.gpu)?, &initial)
    }

    /// Compiles the kernels of a tuning and times them.
    fn candidate(&self, parameters: &Parameters, tuning: Tuning) -> Result<Candidate> {
        let kernels = Selection::new(self.gpu, self.config.k as u32, tuning)?;
        if kernels.method() != tuning.method {
            return Err(Error::Device(format!("{tuning} is not exact on this device")));
        }
        let mut candidate = Candidate { tuning, kernels, times: Times { encode: 0.0, all: 0.0 } };
        candidate.times = self.time(&candidate, parameters)?;
        Ok(candidate)
    }

    /// What one selection takes on the device's clock.
    fn time(&self, candidate: &Candidate, parameters: &Parameters) -> Result<Times> {
        let (Self { gpu, centred, .. }, Candidate { tuning, kernels, .. }) = (self, candidate);
        let rows = self.rows as u32;
        let scratch = SelectionScratch::new(gpu, parameters, rows, tuning.method)?;
        let codes = Codes::new(gpu, rows, self.config.k as u32)?;
        let mut recording = Recording::default();
        scratch.record(&mut recording, kernels, &SelectionArguments { parameters, centred, codes: &codes, rows });
        let program = gpu.program(recording)?;
        gpu.profile(&program)?;
        let mut shortest = Times { encode: f64::INFINITY, all: f64::INFINITY };
        for _ in 0..REPEATS {
            let spans = gpu.profile(&program)?;
            let of_encode = spans.iter().filter(|span| span.operation().starts_with("encode"));
            shortest.encode = shortest.encode.min(of_encode.map(Span::seconds).sum());
            shortest.all = shortest.all.min(spans.iter().map(Span::seconds).sum());
        }
        tracing::debug!(%tuning, features = parameters.config().features, encode = shortest.encode, all = shortest.all);
        Ok(shortest)
    }
}
