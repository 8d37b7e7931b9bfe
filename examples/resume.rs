//! A resumable run without the command line: it is stopped after half of its steps, resumed by a second call, and ends
//! with the same bits as a run that was never stopped.
//!
//!     cargo run --release --example resume -- DIRECTORY

use std::path::Path;
use std::sync::Arc;

use monosem::data::Activations;
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::run::{Event, Job, Run, RunOptions};
use monosem::sae::{self, SaeConfig};
use monosem::train::Recipe;
use monosem::{Error, Result};

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1).ok_or_else(|| Error::Config("usage: resume DIRECTORY".into()))?;
    resume(&Gpu::open(&AdapterChoice::Best)?, Path::new(&directory))
}

/// Trains one SAE twice, in two directories below `directory`, and compares the results.
pub fn resume(gpu: &Gpu, directory: &Path) -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/sample-train.safetensors");
    let data = Arc::new(Activations::open(&[path.into()])?);
    let config = SaeConfig::top_k(data.width(), 2 * data.width(), 16);
    let recipe = Recipe::top_k(config.features, 256, 20);
    let job = Job::new(gpu, config, recipe, data);

    // Takes steps until `last` are taken, from wherever the run in the directory is.
    let train = |name: &str, last: u64| {
        let mut show = |event: &Event<'_>| {
            match event {
                Event::Resumed { job, step } => println!("{name}: resumed from step {step} of {}", job.recipe.steps),
                Event::Interrupted { checkpoint: Some(path) } => println!("{name}: saved {}", path.display()),
                Event::Saved { path } => println!("{name}: done, saved {}", path.display()),
                _ => {}
            }
            Ok(())
        };
        let run = Run::resume(gpu, &directory.join(name), job.clone(), RunOptions::default(), &mut show)?;
        run.train(&|taken| taken >= last, &mut show)
    };
    train("unbroken", u64::MAX)?;
    train("broken", 10)?;
    train("broken", u64::MAX)?;

    let is_equal = sae::load(&directory.join("broken"))? == sae::load(&directory.join("unbroken"))?;
    println!("the same bits: {is_equal}");
    if is_equal { Ok(()) } else { Err(Error::Config("the resumed run differs from the unbroken one".into())) }
}
