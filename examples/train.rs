//! The library used directly: trains a small SAE on a directory of activations and saves it.
//!
//!     cargo run --release --example train -- ACTIVATIONS DIRECTORY

use std::path::PathBuf;
use std::sync::Arc;

use monosem::apply::evaluate;
use monosem::data::{Activations, Batches};
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::run::Job;
use monosem::sae::{self, SaeConfig};
use monosem::train::{Recipe, train};
use monosem::{Error, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(activations), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err(Error::Config("usage: train ACTIVATIONS DIRECTORY".into()));
    };
    let data = Arc::new(Activations::open(&[activations])?);
    let config = SaeConfig::top_k(data.width(), 4 * data.width(), 16);
    let gpu = Gpu::open(&AdapterChoice::Best)?;
    let recipe = Recipe::top_k(config.features, 512, 100);
    let job = Job::new(&gpu, config, recipe.clone(), data.clone());
    let (batch, steps) = (recipe.batch, recipe.steps);
    let mut batches = job.batches(0..steps)?;
    let sae = train(&gpu, &job.initial_weights(&gpu, &mut batches)?, recipe, batches, |progress| {
        if progress.step % 10 == 0 {
            println!("step {:3}  loss {:8.3}  FVU {:.3}", progress.step, progress.loss, progress.fvu);
        }
        Ok(())
    })?;

    println!("FVU on all rows: {:.3}", evaluate(&gpu, &sae, batch, Batches::in_order(data, batch)?)?.all.fvu);
    sae::save(&sae, &directory)
}
