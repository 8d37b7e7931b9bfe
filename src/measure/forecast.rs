//! The time of a training step that a run will take, from steps of smaller runs.

use std::collections::BTreeMap;

use super::benchmark::quick_start;
use super::{StepBenchmark, Timed, Work, synthetic_rows, work};
use crate::engine::parameters::BLOCK_FEATURES;
use crate::engine::recipe::Recipe;
use crate::engine::select::Tuning;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::sae::SaeConfig;
use crate::train::Initialization;

/// The predicted time of a step on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Seconds of a step.
    pub seconds: f64,
    /// Whether it is computed by slabs, because its active features do not fit their list.
    pub by_slabs: bool,
    /// FLOP/s that `encode` or `screen` reached.
    pub flops_per_second: f64,
    /// Bytes/s that `update` reached.
    pub bytes_per_second: f64,
}

/// Steps of each size that are timed, after one that is not.
const TIMED_STEPS: usize = 3;

impl Forecast {
    /// Times the first steps of two small runs on random rows of mean norm √d, once k has fallen, and continues the line
    /// through them: every kernel's time is linear in the number of features.
    ///
    /// # Errors
    /// Those of training, and [`crate::Error::Device`] where the device has no timestamps.
    pub fn measure(
        gpu: &Gpu,
        config: &SaeConfig,
        recipe: &Recipe,
        tuning: Tuning,
        initialization: Initialization,
    ) -> Result<Self> {
        // Half a second or so: enough to fill the device, little enough to wait for.
        let flops: u64 = if gpu.description().takes_cpu_kernels() { 20_000_000_000 } else { 1_000_000_000_000 };
        let fitting = flops / (2 * recipe.batch as u64 * config.d_in as u64);
        let block = BLOCK_FEATURES as usize;
        let large = (fitting as usize / block).clamp(2, 64) * block;
        let large = large.max(config.usual_l0()).min(config.features);
        let small = (large / 2).max(config.usual_l0());
        let at = |features| SaeConfig { features, ..config.clone() };
        let rows = scaled_rows(recipe.batch, config.d_in);
        let recipe = &Recipe { k_annealing: None, ..recipe.clone() };
        let time = |config: &SaeConfig, share: f64| {
            let start = quick_start(initialization.of_share(share)).start(gpu, config, 0, &rows)?;
            StepBenchmark::with_weights(gpu, &start, recipe.clone(), tuning, vec![rows.clone()])?
                .operations(TIMED_STEPS)
        };
        let share = |features: usize| features as f64 / config.features as f64;
        let (after, before) = (time(&at(large), share(large))?, time(&at(small), share(small))?);
        let seconds = |times: &BTreeMap<String, Timed>| times.values().map(|timed| timed.seconds).sum::<f64>();
        let (total, total_before) = (seconds(&after), seconds(&before));
        let slope = if large > small { (total - total_before) / (large - small) as f64 } else { 0.0 };
        let work = work(&at(large), recipe, tuning.method);
        let rate = |kernel: &str, amount: fn(&Work) -> u64| {
            let of = after.iter().filter_map(|(operation, timed)| Some((Work::of(&work, operation)?, timed)));
            let mut of = of.filter(|(work, _)| work.kernel == kernel);
            of.next().map_or(0.0, |(work, timed)| amount(work) as f64 / timed.seconds.max(f64::MIN_POSITIVE))
        };
        Ok(Self {
            seconds: total + slope.max(0.0) * (config.features - large) as f64,
            by_slabs: after.contains_key("slab"),
            flops_per_second: rate("encode", |work| work.flops).max(rate("screen", |work| work.flops)),
            bytes_per_second: rate("update", |work| work.bytes),
        })
    }
}

/// Synthetic rows `[count, d]` of the mean norm that published coefficients are for.
fn scaled_rows(count: usize, d: usize) -> Vec<f32> {
    let mut rows = synthetic_rows(count, d, 0);
    let norm = |row: &[f32]| row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let mean = rows.chunks_exact(d).map(norm).sum::<f64>() / count as f64;
    let scale = ((d as f64).sqrt() / mean) as f32;
    rows.iter_mut().for_each(|value| *value *= scale);
    rows
}
