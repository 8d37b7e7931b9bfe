//! `monosem train`

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use monosem::data::{Activations, Batches};
use monosem::sae::{Sae, SaeConfig, save};
use monosem::train::{Progress, Recipe, initialize, train};
use monosem::{Error, Result};
use serde_json::json;

use super::output::tell;
use super::{DataArguments, DeviceArguments};

/// Trains a TopK SAE
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("size").required(true).args(["features", "expansion"]))]
#[command(group = ArgGroup::new("length").required(true).args(["steps", "tokens"]))]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Run directory to make: metrics.jsonl, and the SAE in SAELens's layout under sae/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of features
    #[arg(long, visible_alias = "d-sae", value_name = "N")]
    features: Option<usize>,
    /// Number of features, as a multiple of the activations' width
    #[arg(long, value_name = "X")]
    expansion: Option<usize>,
    /// Active features a row
    #[arg(long, default_value_t = 32)]
    k: usize,
    /// Rows a step
    #[arg(long, default_value_t = 4096)]
    batch: usize,
    /// Number of steps
    #[arg(long, value_name = "S")]
    steps: Option<u64>,
    /// Number of rows to train on, rounded up to whole steps
    #[arg(long, value_name = "T")]
    tokens: Option<u64>,
    /// Highest learning rate [default: 2e-4 / sqrt(features / 16384); below 10000 steps times sqrt(10000 / steps), at most 4]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Steps over which the learning rate rises from 0 [default: a fifteenth of the steps, at most 1000]
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u64>,
    /// Steps at the end over which the learning rate falls to 0 [default: a fifth of the steps]
    #[arg(long, value_name = "STEPS")]
    decay: Option<u64>,
    /// Largest norm of the gradient; 0 for no limit
    #[arg(long, default_value_t = 1.0, value_name = "NORM", allow_negative_numbers = true)]
    clip: f64,
    /// Selects features by activation times decoder norm, and leaves the norms free (SAELens's TopK)
    #[arg(long)]
    rescale_acts_by_decoder_norm: bool,
    /// Seed of the initial weights and of the order of the rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps from one line of metrics.jsonl to the next
    #[arg(long, default_value_t = 10, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,
    #[command(flatten)]
    device: DeviceArguments,
}

impl Arguments {
    fn sae_config(&self, width: usize) -> Result<SaeConfig> {
        let features = match (self.features, self.expansion) {
            (Some(features), _) => features,
            (None, expansion) => expansion
                .and_then(|expansion| width.checked_mul(expansion))
                .ok_or_else(|| Error::Config("--expansion makes more features than can be counted".into()))?,
        };
        let config = SaeConfig {
            d_in: width,
            features,
            k: self.k,
            rescale_acts_by_decoder_norm: self.rescale_acts_by_decoder_norm,
            apply_b_dec_to_input: true,
        };
        config.validate()?;
        Ok(config)
    }

    fn recipe(&self, features: usize) -> Result<Recipe> {
        let steps = match (self.steps, self.tokens) {
            (Some(steps), _) => steps,
            (None, tokens) => tokens.unwrap_or(0).div_ceil(self.batch.max(1) as u64),
        };
        let usual = Recipe::top_k(features, self.batch, steps);
        let recipe = Recipe {
            learning_rate: self.lr.unwrap_or(usual.learning_rate),
            warmup_steps: self.warmup.unwrap_or(usual.warmup_steps),
            decay_steps: self.decay.unwrap_or(usual.decay_steps),
            clip: (self.clip != 0.0).then_some(self.clip),
            unit_norm_decoder: !self.rescale_acts_by_decoder_norm,
            ..usual
        };
        recipe.validate()?;
        Ok(recipe)
    }
}

/// Trains, and writes the run directory.
pub fn run(arguments: &Arguments) -> Result<()> {
    let data = Arc::new(Activations::open(&arguments.data.data)?);
    let config = arguments.sae_config(data.width())?;
    let recipe = arguments.recipe(config.features)?;
    let batches = || Batches::shuffled(data.clone(), recipe.batch, arguments.seed, 0, recipe.steps);
    let mut first = batches()?;
    let gpu = arguments.device.open()?;
    let mut log = Log::create(&arguments.out, &recipe, arguments.log_every)?;

    let first_batch = first.next().transpose()?.ok_or_else(|| Error::Config("there is no row to train on".into()))?;
    drop(first);
    let mut initial = initialize(&config, arguments.seed, &first_batch.rows)?;
    initial.provenance = data.provenance().clone();
    let sae: Sae = train(&gpu, &initial, recipe.clone(), batches()?, |progress| log.write(progress))?;
    let directory = arguments.out.join("sae");
    save(&sae, &directory)?;
    tell(&format!("saved {}", directory.display()));
    Ok(())
}

/// A line of metrics.jsonl every few steps, and a line for people every few seconds.
struct Log {
    file: File,
    path: PathBuf,
    every: u64,
    steps: u64,
    started: Instant,
    told: Option<Instant>,
}

const TELL_EVERY: Duration = Duration::from_secs(30);

impl Log {
    fn create(directory: &Path, recipe: &Recipe, every: u64) -> Result<Self> {
        fs::create_dir_all(directory).map_err(Error::io(directory))?;
        if fs::read_dir(directory).map_err(Error::io(directory))?.next().is_some() {
            return Err(Error::Config(format!(
                "--out {} is not empty: name a new directory",
                directory.to_string_lossy().escape_debug()
            )));
        }
        let path = directory.join("metrics.jsonl");
        let file = File::create(&path).map_err(Error::io(&path))?;
        Ok(Self { file, path, every, steps: recipe.steps, started: Instant::now(), told: None })
    }

    fn write(&mut self, progress: &Progress) -> Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        let is_last = progress.step == self.steps;
        if progress.step.is_multiple_of(self.every) || progress.step == 1 || is_last {
            let line = json!({
                "step": progress.step,
                "tokens": progress.tokens,
                "loss": progress.loss,
                "fvu": progress.fvu,
                "l0": progress.l0,
                "gradient_norm": progress.gradient_norm,
                "learning_rate": progress.learning_rate,
                "dead": progress.dead,
                "seconds": seconds,
            });
            // In one write, so that whoever follows the file sees whole lines.
            self.file.write_all(format!("{line}\n").as_bytes()).map_err(Error::io(&self.path))?;
        }
        if is_last || self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tell(&format!(
                "step {}/{}  loss {:.4}  FVU {:.4}  L0 {:.1}  {:.0} tokens/s",
                progress.step,
                self.steps,
                progress.loss,
                progress.fvu,
                progress.l0,
                progress.tokens as f64 / seconds
            ));
        }
        Ok(())
    }
}
