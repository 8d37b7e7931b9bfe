//! Measures which kernels find the codes fastest on a device, for a run's own sizes.

use std::mem::discriminant;
use std::time::{Duration, Instant};

use super::Plan;
use crate::engine::entries::{Entries, Pass};
use crate::engine::parameters::{BLOCK_FEATURES, Parameters, pad_rows};
use crate::engine::planes::Planes;
use crate::engine::recipe::Recipe;
use crate::engine::select::{Inputs, Screening, SelectionMethod, SelectionShape, Tuning, selector};
use crate::error::{Error, Result};
use crate::gpu::{AdapterDescription, Buffer, Gpu, Program, Recording, Source, Span, shaders};
use crate::kernels::EncodeVariant;
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::SaeConfig;
use crate::train::initialize;

/// The effort that goes into measuring, and the size of a run from which it pays.
struct Effort {
    /// Multiply-adds of one measurement, about, at two operations each.
    flops: u64,
    /// Rows of one measurement, at least and at most: few, so that there are many features and the line through two
    /// numbers of them is that of more.
    rows: [usize; 2],
    /// No further candidate is begun after this.
    limit: Duration,
    /// Below so many operations of `encode` in a step, or in the whole run, measuring takes longer than it can save.
    step_flops: u64,
    run_flops: u64,
}

/// A measurement takes a twentieth of a second or so, compiling a kernel up to a second.
const SOFTWARE: Effort = Effort {
    flops: 1_000_000_000,
    rows: [64, 128],
    limit: Duration::from_secs(4),
    step_flops: 500_000_000,
    run_flops: 1_000_000_000_000,
};

/// A measurement takes from 5 ms on a large GPU to 0.1 s on a small one.
const HARDWARE: Effort = Effort {
    flops: 100_000_000_000,
    rows: [1024, 2048],
    limit: Duration::from_secs(2),
    step_flops: 5_000_000_000,
    run_flops: 300_000_000_000_000,
};

/// Measurements of a selection, of which the shortest counts.
const REPEATS: usize = 3;

/// The saving for which another candidate takes the place of the usual one: less is within what measurements differ by.
const MARGIN: f64 = 0.03;

fn effort(adapter: &AdapterDescription) -> &'static Effort {
    if adapter.takes_cpu_kernels() { &SOFTWARE } else { &HARDWARE }
}

/// Whether a run is long enough to win back the time that [`autotune`] takes.
pub fn autotune_pays(adapter: &AdapterDescription, config: &SaeConfig, recipe: &Recipe) -> bool {
    let step = 2 * (recipe.batch as u64).saturating_mul(config.d_in as u64).saturating_mul(config.features as u64);
    let Effort { step_flops, run_flops, .. } = *effort(adapter);
    adapter.timestamps && step >= step_flops && step.saturating_mul(recipe.steps) >= run_flops
}

/// The fastest kernels of those that the device can run, by measurement; the usual ones where it has no clock. First
/// the shapes of `encode` are compared, then with the best of them the selection methods that fit the device's memory.
///
/// # Errors
/// [`Error::DeviceLost`]; a candidate that cannot be run is no error.
pub fn autotune(gpu: &Gpu, config: &SaeConfig, recipe: &Recipe, screening: Screening) -> Result<Tuning> {
    let adapter = gpu.description();
    let usual = Tuning::estimated(adapter, config, recipe.batch, screening);
    if gpu.is_dry_run() || !adapter.timestamps {
        return Ok(usual);
    }
    // With an account and readbacks of its own, so that the run's begin as if nothing had been.
    let gpu = &gpu.with_max_binding_bytes(gpu.max_binding_bytes());
    Ok(possible(measure(gpu, config, recipe, screening, usual))?.unwrap_or(usual))
}

fn measure(gpu: &Gpu, config: &SaeConfig, recipe: &Recipe, screening: Screening, usual: Tuning) -> Result<Tuning> {
    let adapter = gpu.description();
    let started = Instant::now();
    let is_late = || started.elapsed() > effort(adapter).limit;
    let sample = Sample::new(gpu, config, recipe.batch, effort(adapter))?;
    let large = sample.parameters(sample.features)?;

    // Screened, a selection encodes nothing.
    let in_f32 = Tuning::estimated(adapter, config, recipe.batch, Screening::F32);
    let mut trials = vec![sample.prepare(in_f32, &large)?];
    let is_of_same_shader = |variant: &EncodeVariant| discriminant(variant) == discriminant(&usual.encode);
    for encode in EncodeVariant::available(adapter).into_iter().filter(is_of_same_shader) {
        let tuning = Tuning { encode, ..in_f32 };
        if tuning != in_f32 && !is_late() {
            trials.extend(possible(sample.prepare(tuning, &large))?);
        }
    }
    run(gpu, &mut trials)?;
    leave_out_different(gpu, &mut trials)?;
    let best = shortest(trials.iter().map(|trial| (trial.tuning, trial.times.encode)));
    let tuning = Tuning { encode: best.map_or(usual.encode, |best| best.encode), ..usual };

    let small = sample.parameters((sample.features / 2).max(config.usual_l0()))?;
    let mut methods =
        SelectionMethod::available(adapter, tuning.encode, screening, SelectionShape::new(config, recipe.batch));
    // The usual one first.
    methods.sort_by_key(|method| *method != usual.method);
    let mut trials = Vec::new();
    for method in methods {
        let tuning = Tuning { method, ..tuning };
        if method != usual.method && (is_late() || !fits(adapter, config, recipe, tuning)?) {
            continue;
        }
        let both = [&large, &small].map(|part| sample.prepare(tuning, part)).into_iter().collect::<Result<Vec<_>>>();
        trials.extend(possible(both)?.into_iter().flatten());
    }
    run(gpu, &mut trials)?;
    let whole = trials.chunks_exact(2).map(|pair| (pair[0].tuning, sample.whole(pair[0].times, pair[1].times, &small)));
    Ok(shortest(whole).unwrap_or(tuning))
}

/// The first, unless another is shorter by more than measurements differ by.
fn shortest(times: impl Iterator<Item = (Tuning, f64)>) -> Option<Tuning> {
    let mut times = times;
    let (usual, seconds) = times.next()?;
    let better = times.filter(|(_, other)| *other < seconds * (1.0 - MARGIN));
    Some(better.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(usual, |(tuning, _)| tuning))
}

/// Whether a run is not known to exceed the device's memory.
fn fits(adapter: &AdapterDescription, config: &SaeConfig, recipe: &Recipe, tuning: Tuning) -> Result<bool> {
    let needed = Plan::of(adapter, config, recipe, tuning)?.needed(adapter);
    Ok(adapter.memory.as_ref().is_none_or(|memory| needed <= memory.available))
}

/// Skips what a device refuses; a lost device is an error.
fn possible<T>(measured: Result<T>) -> Result<Option<T>> {
    match measured {
        Ok(measured) => Ok(Some(measured)),
        Err(Error::DeviceLost(reason)) => Err(Error::DeviceLost(reason)),
        Err(error) => {
            log::warn!("not measured: {error}");
            Ok(None)
        }
    }
}

/// The kernels that work on a chunk of features before what they find is merged.
const PRODUCTS: [Source; 5] = [
    shaders::encode_tiled::SOURCE,
    shaders::encode_subgroup::SOURCE,
    shaders::to_f16::SOURCE,
    shaders::screen_cooperative::SOURCE,
    shaders::screen_portable::SOURCE,
];

/// Seconds of one selection, by how they grow with the number of features.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// In proportion.
    encode: f64,
    /// On a line.
    merging: f64,
    /// Not at all: what comes after the last chunk.
    ending: f64,
}

impl Times {
    const ENDLESS: Self = Self { encode: f64::INFINITY, merging: f64::INFINITY, ending: f64::INFINITY };

    /// A chunk is encoded or screened, then merged into what was found so far. What is behind a gate only runs where it
    /// must.
    fn of(spans: &[Span]) -> Self {
        let end = spans.iter().position(|span| span.operation() == shaders::gate::SOURCE.name).unwrap_or(spans.len());
        let spans = &spans[..end];
        let is_chunk = |span: &&Span| PRODUCTS.iter().any(|product| product.name == span.operation());
        let end = spans.iter().rposition(|span| is_chunk(&span)).map_or(spans.len(), |last| spans.len().min(last + 2));
        let sum = |spans: &[Span]| spans.iter().map(Span::seconds).sum::<f64>();
        let encode = spans.iter().filter(is_chunk).map(Span::seconds).sum();
        Self { encode, merging: sum(&spans[..end]) - encode, ending: sum(&spans[end..]) }
    }

    fn min(self, other: Self) -> Self {
        Self {
            encode: self.encode.min(other.encode),
            merging: self.merging.min(other.merging),
            ending: self.ending.min(other.ending),
        }
    }
}

/// A selection that is measured.
struct Trial {
    tuning: Tuning,
    program: Program,
    /// The codes that it finds.
    entries: Buffer,
    times: Times,
}

/// Measures all of them alternately, so that a device that is busy or cold for a while is so for each.
fn run(gpu: &Gpu, trials: &mut [Trial]) -> Result<()> {
    for _ in 0..REPEATS {
        for trial in &mut *trials {
            trial.times = trial.times.min(Times::of(&gpu.profile(&trial.program)?));
        }
    }
    for Trial { tuning, times, .. } in trials {
        log::debug!("measured {tuning}: {times:?}");
    }
    Ok(())
}

/// Leaves out the trials whose codes are not, to the bit, those of the first.
fn leave_out_different(gpu: &Gpu, trials: &mut Vec<Trial>) -> Result<()> {
    let Some(usual) = trials.first() else { return Ok(()) };
    let (usual_tuning, expected) = (usual.tuning, gpu.read::<u32>(&usual.entries)?);
    let mut kept = Vec::new();
    for trial in trials.drain(..) {
        match gpu.read::<u32>(&trial.entries)? == expected {
            true => kept.push(trial),
            false => log::warn!("{} is not used: its codes are not those of {}", trial.tuning, usual_tuning),
        }
    }
    *trials = kept;
    Ok(())
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
        let group = EncodeVariant::best(gpu.description()).group() as usize;
        let block = BLOCK_FEATURES as usize;
        // Half of them must still have many more groups than are selected.
        let representative = (8 * group * config.usual_l0()).next_multiple_of(block).min(config.features);
        let affordable = |other: usize| effort.flops as usize / (2 * config.d_in * other);
        let [least, most] = effort.rows;
        let rows = affordable(representative).clamp(least, most).min(batch);
        let features = (affordable(rows) / block * block).max(representative).min(config.features);
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
        let parameters = Parameters::allocate(self.gpu, &config, Planes::inference(&config.describe()))?;
        parameters.fill(self.gpu, &self.gpu.pipeline(&parameters.planes().defines())?, &initial)?;
        Ok(parameters)
    }

    /// A selection that has run once, which is not counted: drivers compile then.
    fn prepare(&self, tuning: Tuning, parameters: &Parameters) -> Result<Trial> {
        let Self { gpu, centred, .. } = self;
        let rows = self.rows as u32;
        let (features, pass) = (parameters.features(), Pass::Evaluation);
        let entries = Entries::new(gpu, parameters.description(), features, self.rows, pass)?;
        let selector = selector(gpu, parameters, &entries, rows, tuning, pass)?;
        if selector.method() != tuning.method {
            return Err(Error::Device(format!("{tuning} is not exact on this device")));
        }
        let guard = &gpu.buffer("guard", 2)?;
        let mut recording = Recording::default();
        let (k, entries) = (parameters.config().k().unwrap_or(0) as u32, &entries);
        selector.record(
            &mut recording,
            &Inputs { parameters, centred, entries, guard, rows, k, screen: Default::default(), halvings: 0 },
        );
        let program = gpu.program(recording)?;
        gpu.profile(&program)?;
        Ok(Trial { tuning, program, entries: entries.list.clone(), times: Times::ENDLESS })
    }

    /// Seconds of a selection from all features, from those of the sample's and of a smaller part.
    fn whole(&self, times: Times, of_small: Times, small: &Parameters) -> f64 {
        let (all, large, small) = (self.config.features, self.features, small.config().features);
        let slope = match large - small {
            0 => 0.0,
            between => (times.merging - of_small.merging).max(0.0) / between as f64,
        };
        times.encode * all as f64 / large as f64 + times.merging + slope * (all - large) as f64 + times.ending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(seconds: &[(&str, f64)]) -> Vec<Span> {
        let span = |&(kernel, end): &(&str, f64)| Span { kernel: kernel.into(), begin: 0.0, end };
        seconds.iter().map(span).collect()
    }

    #[test]
    fn times_are_told_apart_by_how_they_grow() {
        let chunks =
            [("encode_tiled.main", 1.0), ("select.main", 2.0), ("encode_tiled.main", 3.0), ("select.main", 4.0)];
        let times = Times::of(&spans(&chunks));
        assert_eq!((times.encode, times.merging, times.ending), (4.0, 6.0, 0.0));
        let ending = [("rescore.main", 10.0), ("select.main", 20.0), ("rescore.write_codes", 40.0)];
        let times = Times::of(&spans(&[&chunks[..], &ending].concat()));
        assert_eq!((times.encode, times.merging, times.ending), (4.0, 6.0, 70.0));
        let screened =
            [("to_f16.main", 1.0), ("to_f16.main", 2.0), ("screen_portable.main", 4.0), ("select.main", 8.0)];
        let ending =
            [("rescore.main", 16.0), ("check_bounds.main", 32.0), ("gate.main", 64.0), ("encode_tiled.main", 128.0)];
        let times = Times::of(&spans(&[&screened[..], &ending].concat()));
        assert_eq!((times.encode, times.merging, times.ending), (7.0, 8.0, 48.0));
        let times = Times::of(&[]);
        assert_eq!((times.encode, times.merging, times.ending), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_usual_stays_unless_another_is_clearly_shorter() {
        let adapter = AdapterDescription { kind: "software", subgroup_size: Some(8), ..AdapterDescription::default() };
        let all: Vec<_> = EncodeVariant::available(&adapter)
            .into_iter()
            .map(|encode| Tuning { encode, method: SelectionMethod::Chunked })
            .collect();
        let of = |seconds: &[f64]| shortest(all.iter().copied().zip(seconds.iter().copied()));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[1.0]), Some(all[0]));
        assert_eq!(of(&[1.0, 0.98]), Some(all[0]));
        assert_eq!(of(&[1.0, 0.96, 0.95]), Some(all[2]));
        assert_eq!(of(&[1.0, 0.95, 0.96]), Some(all[1]));
    }
}
