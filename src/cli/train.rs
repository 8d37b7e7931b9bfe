//! `monosem train`

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{ArgMatches, Args};
use monosem::Result;
use monosem::data::Activations;
use monosem::train::check_fits;

use super::metrics_log::Log;
use super::output::{print, tell};
use super::previous_run::PreviousRun;
use super::run_directory::RunDirectory;
use super::run_record::RunRecord;
use super::settings::Settings;
use super::signals::Signals;
use super::training_run::{End, Job, Run};
use super::tuning::TuningArguments;
use super::{config, output};

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
    /// TOML file of settings, as `log-every = 5`: any flag from --data to --screening, by its name without the dashes in
    /// front; a flag on the command line wins [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Times every kernel, and says at the end where the time went and how long the device waited; the result is the same
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    tuning: TuningArguments,
}

/// Settings that a run may go on with changed: its result is the same.
const CHANGEABLE: &[&str] = &[
    "checkpoint-every",
    "keep-checkpoints",
    "log-every",
    "device",
    "screening",
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

    let rows = settings.rows.select(data.clone())?;
    let gpu = settings.device.open()?;
    let screening = settings.screening.value();
    check_fits(gpu.description(), &config, &recipe, screening)?;
    let tuning = arguments.tuning.choose(&gpu, &config, &recipe, screening)?;
    let job = Job { config, recipe, tuning, seed: settings.training.seed, rows };
    let (mut directory, log) = open_directory(&arguments.out, goes_on, job.recipe.steps, settings.training.log_every)?;
    let header = "# The run of this directory: monosem train --config FILE --out NEW repeats it.";
    directory.replace_file("config.toml", format!("{header}\n{}", config::to_toml(&resolved)?).as_bytes())?;
    let mut run = Run::start(&job, &gpu, &mut directory, log, settings.checkpoints)?;
    if arguments.profile {
        run.start_profile()?;
    }
    let mut record = RunRecord::new(started, &job, gpu.description(), run.step());
    record.write(run.directory())?;
    let result = run.train(&signals, settings.metadata.over(data.provenance()));
    record.end(result.as_ref());
    let recorded = record.write(run.directory());
    // What stopped the training matters more than what came of recording it.
    let (end, summary) = (result?, run.summary());
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

/// The run directory, new or as a run left it, and its metrics.
fn open_directory(out: &Path, goes_on: bool, steps: u64, log_every: NonZeroU64) -> Result<(RunDirectory, Log)> {
    if goes_on {
        let directory = RunDirectory::open(out);
        let log = Log::open(&directory, steps, log_every)?;
        return Ok((directory, log));
    }
    let mut directory = RunDirectory::create(out)?;
    // First, because it must be new: of two runs that start in one directory, the second makes nothing.
    let log = Log::create(&mut directory, steps, log_every)?;
    Ok((directory, log))
}
