//! Which kernels a run takes: measured once for its sizes on its device, then remembered.

use std::time::Instant;

use clap::Args;
use monosem::Result;
use monosem::engine::select::{Screening, SelectionShape, Tuning};
use monosem::gpu::{AdapterDescription, Gpu};
use monosem::sae::SaeConfig;
use monosem::train::{Plan, Recipe, autotune, autotune_pays};

use super::output::tell;
use super::tuning_cache::{Key, TuningCache};

#[derive(Args, Clone, Debug)]
pub struct TuningArguments {
    /// Takes the usual kernels, instead of those that are measured to be the fastest here for these sizes and remembered
    /// in the user's cache directory or MONOSEM_CACHE_DIR; the result is the same
    #[arg(long, help_heading = "Device")]
    no_autotune: bool,
}

impl TuningArguments {
    /// What a run would take if it began now and measured nothing.
    pub fn known(
        &self,
        adapter: &AdapterDescription,
        config: &SaeConfig,
        recipe: &Recipe,
        screening: Screening,
    ) -> Result<Tuning> {
        let usual = Tuning::estimated(adapter, config, recipe.batch, screening);
        if self.no_autotune {
            return Ok(usual);
        }
        Ok(remembered(&TuningCache::open(), adapter, config, recipe, screening)?.unwrap_or(usual))
    }

    /// What a run takes: measured now if it was not before and the run is long enough to gain by it.
    pub fn choose(&self, gpu: &Gpu, config: &SaeConfig, recipe: &Recipe, screening: Screening) -> Result<Tuning> {
        let adapter = gpu.description();
        let usual = Tuning::estimated(adapter, config, recipe.batch, screening);
        if self.no_autotune {
            return Ok(usual);
        }
        let cache = TuningCache::open();
        if let Some(tuning) = remembered(&cache, adapter, config, recipe, screening)? {
            tracing::info!(%tuning, "tuned before");
            return Ok(tuning);
        }
        if !autotune_pays(adapter, config, recipe) {
            return Ok(usual);
        }
        let started = Instant::now();
        let tuning = autotune(gpu, config, recipe, screening)?;
        tell(&format!("tuned in {:.1} s: {tuning}", started.elapsed().as_secs_f64()));
        cache.insert(Key::new(adapter, config, recipe.batch, screening), tuning);
        Ok(tuning)
    }
}

/// What the cache has for a run, if the device can still run it and has the memory for it.
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
