//! `monosem train`

use std::fs::File;
use std::io::Write;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{PathBuf, absolute};
use std::sync::Arc;
use std::time::Instant;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, ArgMatches, Args};
use monosem::data::{Activations, Batches, Provenance};
use monosem::gpu::Gpu;
use monosem::sae::{Sae, SaeConfig, save};
use monosem::train::{Progress, Recipe, initialize, train};
use monosem::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::output::{print, tell};
use super::progress::Display;
use super::rows::RowArguments;
use super::run_directory::RunDirectory;
use super::run_record::RunRecord;
use super::{DataArguments, DeviceArguments, config, output};

/// Trains a TopK SAE
#[derive(Args, Debug)]
#[command(mut_args(|arg| match arg.get_id().as_str() {
    "data" => arg.required(false).required_unless_present("config"),
    // So that the message is about the number.
    _ => arg.allow_negative_numbers(true),
}))]
pub struct Arguments {
    /// Run directory to make: config.toml, run.json, metrics.jsonl, and the SAE in SAELens's layout under sae/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// TOML file of settings, as `log-every = 5`: any flag from --data to --device, by its name without the dashes in
    /// front; a flag on the command line wins [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// What defines a run: flags, and keys of `--config` and of `config.toml`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    data: DataArguments,
    #[command(flatten)]
    #[serde(flatten)]
    rows: RowArguments,
    #[command(flatten)]
    #[serde(flatten)]
    model: ModelSettings,
    #[command(flatten)]
    #[serde(flatten)]
    training: TrainingSettings,
    #[command(flatten)]
    #[serde(flatten)]
    metadata: MetadataSettings,
    #[command(flatten)]
    #[serde(flatten)]
    device: DeviceArguments,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Model", group = ArgGroup::new("size").args(["features", "expansion"]))]
struct ModelSettings {
    /// Number of features; it or --expansion is needed
    #[arg(long, visible_alias = "d-sae", value_name = "N")]
    features: Option<usize>,
    /// Number of features, as a multiple of the activations' width
    #[arg(long, value_name = "X")]
    expansion: Option<usize>,
    /// Active features a row
    #[arg(long, default_value_t = 32)]
    k: usize,
    /// Selects features by activation times decoder norm, and leaves the norms free (SAELens's TopK)
    #[arg(
        long,
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_name = "true|false",
        hide_possible_values = true
    )]
    rescale_acts_by_decoder_norm: bool,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Training", group = ArgGroup::new("length").args(["steps", "tokens"]))]
struct TrainingSettings {
    /// Rows a step
    #[arg(long, default_value_t = 4096)]
    batch: usize,
    /// Number of steps; it or --tokens is needed
    #[arg(long, value_name = "S")]
    steps: Option<u64>,
    /// Number of rows to train on, rounded up to whole steps
    #[arg(long, value_name = "T")]
    tokens: Option<u64>,
    /// Highest learning rate [default: 2e-4 / sqrt(features / 16384); below 10000 steps times sqrt(10000 / steps), at most 4]
    #[arg(long, value_name = "X")]
    lr: Option<f64>,
    /// Steps over which the learning rate rises from 0 [default: a fifteenth of the steps, at most 1000]
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u64>,
    /// Steps at the end over which the learning rate falls to 0 [default: a fifth of the steps]
    #[arg(long, value_name = "STEPS")]
    decay: Option<u64>,
    /// Largest norm of the gradient; 0 for no limit
    #[arg(long, default_value_t = 1.0, value_name = "NORM")]
    clip: f64,
    /// Seed of the initial weights and of the order of the rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps from one line of metrics.jsonl to the next
    #[arg(long, default_value = "10", value_name = "STEPS")]
    log_every: NonZeroU64,
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Metadata of the SAE")]
struct MetadataSettings {
    /// Language model that the activations are from [default: what the data's metadata say]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    model_name: Option<String>,
    /// Point in the model that they were taken from [default: what the data's metadata say]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    hook_name: Option<String>,
    /// Tokens a window of text [default: what the data's metadata say]
    #[arg(long, value_name = "TOKENS")]
    context_size: Option<NonZeroUsize>,
    /// Text that the model read [default: what the data's metadata say]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    dataset_path: Option<String>,
}

impl MetadataSettings {
    /// What the flags say, and the data where they do not.
    fn over(&self, data: &Provenance) -> Provenance {
        Provenance {
            model_name: self.model_name.clone().or_else(|| data.model_name.clone()),
            hook_name: self.hook_name.clone().or_else(|| data.hook_name.clone()),
            context_size: self.context_size.map(NonZeroUsize::get).or(data.context_size),
            dataset_path: self.dataset_path.clone().or_else(|| data.dataset_path.clone()),
        }
    }
}

impl Settings {
    /// Checks what clap cannot see across the command line and a file.
    fn check(&self) -> Result<()> {
        let exactly_one = |[one, other]: [&str; 2], given: [bool; 2]| match given {
            [true, true] => Err(Error::Config(format!(
                "{one} and {other} contradict each other, on the command line or in the --config file: give only one"
            ))),
            [false, false] => Err(Error::Config(format!(
                "neither --{one} nor --{other} is given, here or in a --config file: one is needed"
            ))),
            _ => Ok(()),
        };
        exactly_one(["features", "expansion"], [self.model.features.is_some(), self.model.expansion.is_some()])?;
        exactly_one(["steps", "tokens"], [self.training.steps.is_some(), self.training.tokens.is_some()])?;
        if self.data.data.is_empty() {
            return Err(Error::Config("there is no data, here or in the --config file: --data is needed".into()));
        }
        Ok(())
    }

    fn sae_config(&self, width: usize) -> Result<SaeConfig> {
        let features = match (self.model.features, self.model.expansion) {
            (Some(features), _) => features,
            (None, expansion) => expansion
                .and_then(|expansion| width.checked_mul(expansion))
                .ok_or_else(|| Error::Config("--expansion makes more features than can be counted".into()))?,
        };
        let config = SaeConfig {
            d_in: width,
            features,
            k: self.model.k,
            rescale_acts_by_decoder_norm: self.model.rescale_acts_by_decoder_norm,
            apply_b_dec_to_input: true,
        };
        config.validate()?;
        Ok(config)
    }

    fn recipe(&self, features: usize) -> Result<Recipe> {
        let training = &self.training;
        let steps = match (training.steps, training.tokens) {
            (Some(steps), _) => steps,
            (None, tokens) => tokens.unwrap_or(0).div_ceil(training.batch.max(1) as u64),
        };
        let usual = Recipe::top_k(features, training.batch, steps);
        let recipe = Recipe {
            learning_rate: training.lr.unwrap_or(usual.learning_rate),
            warmup_steps: training.warmup.unwrap_or(usual.warmup_steps),
            decay_steps: training.decay.unwrap_or(usual.decay_steps),
            clip: (training.clip != 0.0).then_some(training.clip),
            unit_norm_decoder: !self.model.rescale_acts_by_decoder_norm,
            ..usual
        };
        recipe.validate()?;
        Ok(recipe)
    }

    /// The same run with nothing left to be derived, so that it can be repeated from any directory.
    fn resolved(mut self, config: &SaeConfig, recipe: &Recipe) -> Result<Self> {
        self.model.features = Some(config.features);
        self.model.expansion = None;
        self.training.steps = Some(recipe.steps);
        self.training.tokens = None;
        self.training.lr = Some(recipe.learning_rate);
        self.training.warmup = Some(recipe.warmup_steps);
        self.training.decay = Some(recipe.decay_steps);
        for path in &mut self.data.data {
            *path = absolute(&*path).map_err(Error::io(&*path))?;
        }
        Ok(self)
    }
}

/// Trains, and writes the run directory.
pub fn run(arguments: &Arguments, matches: &ArgMatches) -> Result<()> {
    let started = Instant::now();
    let settings = match &arguments.config {
        Some(path) => config::under_flags(path, &arguments.settings, matches)?,
        None => arguments.settings.clone(),
    };
    settings.check()?;
    RunDirectory::check(&arguments.out)?;
    let data = Arc::new(Activations::open(&settings.data.data)?);
    tracing::info!(files = data.row_counts().count(), rows = data.rows(), width = data.width(), "data opened");
    let config = settings.sae_config(data.width())?;
    let recipe = settings.recipe(config.features)?;
    let config_toml = config::to_toml(&settings.clone().resolved(&config, &recipe)?)?;

    let seed = settings.training.seed;
    let rows = settings.rows.select(data.clone())?;
    let batches = || Batches::shuffled(rows.clone(), recipe.batch, seed, 0, recipe.steps);
    let mut first = batches()?;
    let gpu = settings.device.open()?;
    let first_batch = first.next().transpose()?.ok_or_else(|| Error::Config("there is no row to train on".into()))?;
    drop(first);
    let mut initial = initialize(&config, seed, &first_batch.rows)?;
    tracing::info!(features = config.features, seed, "initial weights made");
    initial.provenance = settings.metadata.over(data.provenance());

    let mut directory = RunDirectory::create(&arguments.out)?;
    // First, because it must be new: of two runs that start in one directory, the second makes nothing.
    let log = Log::create(&mut directory, &recipe, settings.training.log_every)?;
    let header = "# The run of this directory: monosem train --config FILE --out NEW repeats it.";
    directory.replace_file("config.toml", format!("{header}\n{config_toml}").as_bytes())?;
    let mut record = RunRecord::new(started, seed, &rows, gpu.description());
    record.write(&mut directory)?;
    let SaeConfig { d_in, features, k, .. } = config;
    let (Recipe { steps, batch, .. }, rows) = (&recipe, rows.rows());
    tell(&format!(
        "training {features} features of {d_in} values, {k} a row: {steps} steps of {batch} rows, out of {rows}"
    ));
    let result = train_and_save(&gpu, &initial, &recipe, batches()?, &mut directory, log);
    record.end(result.as_ref().err());
    let recorded = record.write(&mut directory);
    // What stopped the training matters more than what came of recording it.
    let summary = result?;
    recorded?;
    if output::json() {
        print(&summary.to_string())?;
    }
    Ok(())
}

/// Gives what `--json` prints last.
fn train_and_save(
    gpu: &Gpu,
    initial: &Sae,
    recipe: &Recipe,
    batches: Batches,
    directory: &mut RunDirectory,
    mut log: Log,
) -> Result<Value> {
    let mut summary = json!({});
    let sae = train(gpu, initial, recipe.clone(), batches, |progress| {
        directory.keep();
        summary = log.write(progress)?;
        Ok(())
    })?;
    let path = directory.join("sae");
    save(&sae, &path)?;
    tell(&format!("saved {}", path.to_string_lossy().escape_debug()));
    summary["state"] = "done".into();
    summary["sae"] = path.to_string_lossy().into();
    Ok(summary)
}

/// A line of metrics.jsonl every few steps, the same on stdout for programs, and progress for people.
struct Log {
    file: File,
    path: PathBuf,
    every: u64,
    steps: u64,
    started: Instant,
    display: Display,
}

impl Log {
    fn create(directory: &mut RunDirectory, recipe: &Recipe, every: NonZeroU64) -> Result<Self> {
        const NAME: &str = "metrics.jsonl";
        Ok(Self {
            file: directory.create_file(NAME)?,
            path: directory.join(NAME),
            every: every.get(),
            steps: recipe.steps,
            started: Instant::now(),
            display: Display::new(recipe.steps),
        })
    }

    /// Gives the step's metrics.
    fn write(&mut self, progress: &Progress) -> Result<Value> {
        let metrics = json!({
            "step": progress.step,
            "tokens": progress.tokens,
            "loss": progress.loss,
            "fvu": progress.fvu,
            "l0": progress.l0,
            "gradient_norm": progress.gradient_norm,
            "learning_rate": progress.learning_rate,
            "dead": progress.dead,
            "seconds": self.started.elapsed().as_secs_f64(),
        });
        if progress.step.is_multiple_of(self.every) || progress.step == 1 || progress.step == self.steps {
            // In one write, so that whoever follows the file sees whole lines.
            self.file.write_all(format!("{metrics}\n").as_bytes()).map_err(Error::io(&self.path))?;
            if output::json() {
                self.display.aside(|| print(&metrics.to_string()))?;
            }
        }
        self.display.show(progress);
        Ok(metrics)
    }
}
