//! `monosem train`

use std::collections::BTreeMap;
use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf, absolute};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, ArgMatches, Args, ValueEnum};
use monosem::checkpoint::{self, Manifest};
use monosem::data::{Activations, Batches, Provenance, Selection};
use monosem::sae::{SaeConfig, save};
use monosem::train::{MomentPrecision, Progress, Recipe, Trainer, check_fits, initialize};
use monosem::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::checkpoints::{CheckpointSettings, Checkpoints};
use super::metrics_log::{Log, Position};
use super::output::{print, tell};
use super::previous_run::PreviousRun;
use super::rows::RowArguments;
use super::run_directory::RunDirectory;
use super::run_record::RunRecord;
use super::signals::Signals;
use super::{DataArguments, DeviceArguments, config, output};

/// Trains a TopK SAE
#[derive(Args, Debug)]
#[command(mut_args(|arg| match arg.get_id().as_str() {
    "data" => arg.required(false).required_unless_present_any(["config", "resume"]),
    // So that the message is about the number.
    _ => arg.allow_negative_numbers(true),
}))]
pub struct Arguments {
    /// Run directory to make: config.toml, run.json, metrics.jsonl, and the SAE in SAELens's layout under sae/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Goes on from the newest whole checkpoint in --out, or starts if there is none; a run that is done stays as it is.
    /// Flags that would change the result are refused; without --data the settings are those of the run's config.toml
    #[arg(long)]
    resume: bool,
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
    checkpoints: CheckpointSettings,
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
pub struct ModelSettings {
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
    /// Type that Adam's moments are stored in: f32, or bf16 rounded at random, which halves them
    #[arg(long, default_value = "f32", value_name = "f32|bf16", hide_possible_values = true)]
    moments: Moments,
    /// Seed of the initial weights and of the order of the rows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps from one line of metrics.jsonl to the next
    #[arg(long, default_value = "10", value_name = "STEPS")]
    log_every: NonZeroU64,
}

/// The values of `--moments`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moments {
    F32,
    Bf16,
}

impl Moments {
    /// With the seed of the rounding.
    pub fn with_seed(self, seed: u64) -> MomentPrecision {
        match self {
            Self::F32 => MomentPrecision::F32,
            Self::Bf16 => MomentPrecision::Bf16 { seed },
        }
    }
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
}

impl ModelSettings {
    /// The SAE for activations of a width.
    ///
    /// # Errors
    /// [`Error::Config`] naming what makes none.
    pub fn sae_config(&self, width: usize) -> Result<SaeConfig> {
        let features = match (self.features, self.expansion) {
            (None, None) => {
                return Err(Error::Config("neither --features nor --expansion is given: one is needed".into()));
            }
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
}

impl Settings {
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
            moments: training.moments.with_seed(training.seed),
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

/// Settings that a run may go on with changed: its result is the same.
const CHANGEABLE: &[&str] = &[
    "checkpoint-every",
    "keep-checkpoints",
    "log-every",
    "device",
    "model-name",
    "hook-name",
    "context-size",
    "dataset-path",
];

/// Trains, and writes the run directory.
pub fn run(arguments: &Arguments, matches: &ArgMatches) -> Result<ExitCode> {
    let started = Instant::now();
    let signals = Signals::listen()?;
    let previous = if arguments.resume { PreviousRun::find(&arguments.out)? } else { None };
    let settings = read_settings(arguments, matches, previous.as_ref())?;
    settings.check()?;
    let goes_on = previous.is_some() || (arguments.resume && RunDirectory::is_barely_begun(&arguments.out)?);
    if !goes_on {
        RunDirectory::check(&arguments.out)?;
    }
    let data = Arc::new(Activations::open(&settings.data.data)?);
    tracing::info!(files = data.row_counts().count(), rows = data.rows(), width = data.width(), "data opened");
    let config = settings.model.sae_config(data.width())?;
    let recipe = settings.recipe(config.features)?;
    let resolved = settings.clone().resolved(&config, &recipe)?;
    if let Some(previous) = &previous {
        config::refuse_changes(&previous.config(), &resolved, CHANGEABLE)?;
        if previous.is_done()? {
            tell(&format!("the run in {} is done", arguments.out.to_string_lossy().escape_debug()));
            return Ok(ExitCode::SUCCESS);
        }
    }

    let seed = settings.training.seed;
    let rows = settings.rows.select(data.clone())?;
    let (batch, steps) = (recipe.batch, recipe.steps);
    let batches = |first, steps| Batches::shuffled(rows.clone(), batch, seed, first, steps);
    let gpu = settings.device.open()?;
    check_fits(gpu.description(), &config, &recipe)?;
    let log_every = settings.training.log_every;
    let (mut directory, mut log) = if goes_on {
        let directory = RunDirectory::open(&arguments.out);
        let log = Log::open(&directory, steps, log_every)?;
        (directory, log)
    } else {
        let mut directory = RunDirectory::create(&arguments.out)?;
        // First, because it must be new: of two runs that start in one directory, the second makes nothing.
        let log = Log::create(&mut directory, steps, log_every)?;
        (directory, log)
    };
    let header = "# The run of this directory: monosem train --config FILE --out NEW repeats it.";
    directory.replace_file("config.toml", format!("{header}\n{}", config::to_toml(&resolved)?).as_bytes())?;
    let mut checkpoints =
        Checkpoints::new(directory.join("checkpoints"), config.clone(), recipe.moments, settings.checkpoints.clone());
    let found = checkpoints.restore(|reader| {
        let step = reader.manifest().step;
        check_manifest(reader.manifest(), &config, &recipe, &rows)?;
        Trainer::resume(&gpu, &config, recipe.clone(), step, reader)
    })?;
    let (trainer, position) = match found {
        Some((trainer, manifest)) => (trainer, Position::of(&manifest)?),
        None => {
            let first_batch = batches(0, 1)?.next().transpose()?;
            let first_batch = first_batch.ok_or_else(|| Error::Config("there is no row to train on".into()))?;
            let initial = initialize(&config, seed, &first_batch.rows)?;
            (Trainer::new(&gpu, &initial, recipe.clone())?, Position::default())
        }
    };
    log.rewind(trainer.submitted(), &position)?;
    let mut record = RunRecord::new(started, seed, &rows, gpu.description(), trainer.submitted());
    record.write(&mut directory)?;

    let SaeConfig { d_in, features, k, .. } = config;
    let (step, all) = (trainer.submitted(), rows.rows());
    let batches = batches(step * batch as u64, steps - step)?;
    tell(&match step {
        0 => format!(
            "training {features} features of {d_in} values, {k} a row: {steps} steps of {batch} rows, out of {all}"
        ),
        _ => format!("going on after step {step} of {steps}"),
    });
    let provenance = settings.metadata.over(data.provenance());
    let mut run =
        Run { trainer, config, recipe, rows: all, directory: &mut directory, log, checkpoints, summary: json!({}) };
    let result = run.train(batches, &signals).and_then(|()| run.leave(&signals, provenance));
    let summary = run.summary;
    record.end(result.as_ref());
    let recorded = record.write(&mut directory);
    // What stopped the training matters more than what came of recording it.
    let end = result?;
    recorded?;
    if output::json() {
        print(&summary.to_string())?;
    }
    Ok(match end {
        End::Done { .. } => ExitCode::SUCCESS,
        End::Interrupted => signals.exit_code().into(),
    })
}

/// The settings of the command line over those of a file: --config's, or where there is no data the previous run's.
fn read_settings(arguments: &Arguments, matches: &ArgMatches, previous: Option<&PreviousRun>) -> Result<Settings> {
    let flags = &arguments.settings;
    let previous = previous.filter(|_| flags.data.data.is_empty()).map(PreviousRun::config);
    match arguments.config.clone().or(previous) {
        Some(path) => config::under_flags(&path, flags, matches),
        None => Ok(flags.clone()),
    }
}

/// Fails if a checkpoint is not one of this run: what `config.toml` cannot show.
fn check_manifest(manifest: &Manifest, config: &SaeConfig, recipe: &Recipe, rows: &Selection) -> Result<()> {
    let (before, now) = (Position::of(manifest)?.rows, rows.rows());
    if before != now {
        return Err(Error::Config(format!(
            "the data have {now} rows, and had {before} when the run began: give it the same, or name a new --out"
        )));
    }
    if (&manifest.sae, &manifest.recipe) != (config, recipe) {
        let step = manifest.step;
        return Err(Error::Config(format!(
            "the checkpoint of step {step} is of another run than config.toml beside it: restore one of them"
        )));
    }
    Ok(())
}

/// How a run ended that did not fail.
pub enum End {
    /// The SAE is there, and these are the checksums of its files.
    Done { checksums: BTreeMap<String, String> },
    /// Asked to end; the state is there.
    Interrupted,
}

/// A run under way.
struct Run<'a> {
    trainer: Trainer<'a>,
    config: SaeConfig,
    recipe: Recipe,
    /// Rows of data to train on.
    rows: u64,
    directory: &'a mut RunDirectory,
    log: Log,
    checkpoints: Checkpoints,
    /// What `--json` prints last.
    summary: Value,
}

impl Run<'_> {
    /// Takes the steps that are left, or as many as the signals allow.
    fn train(&mut self, batches: Batches, signals: &Signals) -> Result<()> {
        for batch in batches {
            if signals.received() {
                break;
            }
            let batch = batch?;
            let finished = match self.checkpoints.due(self.trainer.submitted())? {
                Some(writer) => self.trainer.step_and_copy(&batch, writer),
                None => self.trainer.step(&batch),
            };
            self.tell_of(finished?)?;
        }
        while let Some(progress) = self.trainer.next_finished()? {
            self.tell_of(Some(progress))?;
        }
        Ok(())
    }

    fn tell_of(&mut self, finished: Option<Progress>) -> Result<()> {
        let Some(progress) = finished else { return Ok(()) };
        self.directory.keep();
        self.summary = self.log.write(&progress)?;
        let Self { config, recipe, rows, log, .. } = self;
        self.checkpoints.finished(progress.step, || manifest(progress.step, config, recipe, *rows, log))
    }

    /// Leaves the SAE, or if steps are left the state.
    fn leave(&mut self, signals: &Signals, provenance: Provenance) -> Result<End> {
        let step = self.trainer.finished();
        if step == self.recipe.steps {
            self.checkpoints.finish()?;
            let path = self.directory.join("sae");
            if path.exists() {
                // A run that was killed before it could record that it was done; this one ends with the same.
                checkpoint::remove(&path)?;
            }
            save(&self.trainer.weights(provenance), &path)?;
            tell(&format!("saved {}", path.to_string_lossy().escape_debug()));
            self.summary["state"] = "done".into();
            self.summary["sae"] = path.to_string_lossy().into();
            return Ok(End::Done { checksums: checksums(&path)? });
        }
        self.summary["state"] = "interrupted".into();
        self.summary["exit_code"] = signals.exit_code().into();
        if step > 0 {
            let manifest = manifest(step, &self.config, &self.recipe, self.rows, &self.log);
            let path = self.checkpoints.save(&self.trainer, manifest)?;
            let path = path.to_string_lossy();
            tell(&format!("asked to end: saved {}; with --resume the run goes on", path.escape_debug()));
            self.summary["checkpoint"] = path.into();
        }
        Ok(End::Interrupted)
    }
}

/// The checksum of each file in a directory.
fn checksums(directory: &Path) -> Result<BTreeMap<String, String>> {
    let entries = fs::read_dir(directory).map_err(Error::io(directory))?;
    let sum = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.map_err(Error::io(directory))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), checkpoint::checksum(&entry.path())?))
    };
    entries.map(sum).collect()
}

fn manifest(step: u64, config: &SaeConfig, recipe: &Recipe, rows: u64, log: &Log) -> Manifest {
    Manifest::new(step, config, recipe, json!(log.position(rows)))
}
