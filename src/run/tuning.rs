//! Which kernels a run takes: measured once for its sizes on its device, then remembered. No result depends on them.

use std::time::Instant;

use super::events::{Event, Listener};
use super::tuning_cache::{Key, TuningCache};
use crate::engine::select::{Screening, SelectionShape, Tuning};
use crate::error::Result;
use crate::gpu::{AdapterDescription, Gpu};
use crate::measure::{Plan, autotune, autotune_pays};
use crate::sae::SaeConfig;
use crate::train::Recipe;

/// The kernels that [`choose_tuning`] would return now if it measured nothing.
///
/// # Errors
/// Those of [`Plan::of`] and of the listener.
pub fn known_tuning(
    adapter: &AdapterDescription,
    config: &SaeConfig,
    recipe: &Recipe,
    screening: Screening,
    events: &mut Listener<'_>,
) -> Result<Tuning> {
    let known = remembered(&TuningCache::open(events)?, adapter, config, recipe, screening)?;
    Ok(known.unwrap_or_else(|| Tuning::estimated(adapter, config, recipe.batch, screening)))
}

/// The fastest kernels for a run on this device: remembered in the user's cache directory (or MONOSEM_CACHE_DIR), or
/// measured now if the run is long enough to gain by it, or else the default ones.
///
/// # Errors
/// Those of the device and of the listener.
pub fn choose_tuning(
    gpu: &Gpu,
    config: &SaeConfig,
    recipe: &Recipe,
    screening: Screening,
    events: &mut Listener<'_>,
) -> Result<Tuning> {
    let adapter = gpu.description();
    let cache = TuningCache::open(events)?;
    if let Some(tuning) = remembered(&cache, adapter, config, recipe, screening)? {
        log::info!("tuned before: {tuning}");
        return Ok(tuning);
    }
    if !autotune_pays(adapter, config, recipe) {
        return Ok(Tuning::estimated(adapter, config, recipe.batch, screening));
    }
    let started = Instant::now();
    let tuning = autotune(gpu, config, recipe, screening)?;
    events(&Event::Tuned { tuning, seconds: started.elapsed().as_secs_f64() })?;
    cache.insert(Key::new(adapter, config, recipe.batch, screening), tuning, events)?;
    Ok(tuning)
}

/// The cache's kernels for a run, if the device can still run them and has the memory for it.
fn remembered(
    cache: &TuningCache,
    adapter: &AdapterDescription,
    config: &SaeConfig,
    recipe: &Recipe,
    screening: Screening,
) -> Result<Option<Tuning>> {
    let shape = SelectionShape::new(config, recipe.batch);
    let names = cache.get(&Key::new(adapter, config, recipe.batch, screening));
    let Some(tuning) =
        names.and_then(|names| Tuning::named(adapter, screening, shape, [&names.encode, &names.selection]))
    else {
        return Ok(None);
    };
    let needed = Plan::of(adapter, config, recipe, tuning)?.needed(adapter);
    Ok(adapter.memory.as_ref().is_none_or(|memory| needed <= memory.available).then_some(tuning))
}
