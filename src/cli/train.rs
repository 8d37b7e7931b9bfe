//! `monosem train`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{ArgMatches, Args};
use monosem::Result;
use monosem::measure::check_fits;
use monosem::run::{self, End, Job, Run, RunOptions};
use serde_json::json;

use super::arguments::{Settings, TuningArguments};
use super::config;
use super::output::{self, print, tell};
use super::report::RunReport;
use super::signals::Signals;

/// Train a sparse autoencoder
#[derive(Args, Debug)]
#[command(mut_args(|arg| match arg.get_id().as_str() {
    "data" => arg.required(false).required_unless_present_any(["config", "resume"]),
    // So that the message is about the number.
    _ => arg.allow_negative_numbers(true),
}))]
pub struct Arguments {
    /// Directory for the run (must not exist or be empty): config.toml, run.json, metrics.jsonl, and the SAE in
    /// SAELens's layout under sae/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Resume from the newest intact checkpoint in --out, or start if there is none; a completed run is left alone.
    /// Flags that would change the result are refused; without --data, settings come from the run's config.toml
    #[arg(long)]
    resume: bool,
    /// TOML settings file; keys are the names of the flags from --data to --screening, e.g. `log-every = 5`.
    /// Command-line flags win [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print a per-kernel time profile and GPU idle time at the end; the result is identical
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    tuning: TuningArguments,
}

/// Settings that may change when a run resumes: its result does not depend on them.
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
    let out = &arguments.out;
    let is_resumed = arguments.resume && run::exists(out)?;
    let previous = Some(out.join("config.toml")).filter(|path| is_resumed && path.exists());
    let settings = read_settings(arguments, matches, previous.clone())?;
    settings.check()?;
    if !is_resumed {
        run::check_new(out)?;
    }
    let data = Arc::new(settings.data.open()?);
    tracing::info!(files = data.row_counts().count(), rows = data.rows(), width = data.width(), "data opened");
    let config = settings.model.sae_config(data.width())?;
    let recipe = settings.recipe(config.features)?;
    let resolved = settings.clone().resolved(&config, &recipe)?;
    if let Some(previous) = &previous {
        config::refuse_changes(previous, &resolved, CHANGEABLE)?;
    }
    if is_resumed && run::is_done(out)? {
        return already_complete(arguments);
    }

    let rows = settings.rows.select(data.clone())?;
    let gpu = settings.device.open()?;
    let screening = settings.screening.value();
    check_fits(gpu.description(), &config, &recipe, screening)?;
    let tuning = arguments.tuning.choose(&gpu, &config, &recipe, screening)?;
    let job = Job { config, recipe, tuning, seed: settings.training.seed, rows };
    let header = "# The run of this directory: monosem train --config FILE --out NEW repeats it.";
    let options = RunOptions {
        checkpoints: settings.checkpoints.policy(),
        log_every: settings.training.log_every,
        provenance: Some(settings.metadata.over(data.provenance())),
        config_toml: Some(format!("{header}\n{}", config::to_toml(&resolved)?)),
        profile: arguments.profile,
        started,
    };
    let mut report = RunReport::default();
    let mut listen = |event: &run::Event<'_>| report.show(event);
    let run = match is_resumed {
        true => Run::resume(&gpu, out, job, options, &mut listen)?,
        false => Run::create(&gpu, out, job, options)?,
    };
    let end = run.train(&|_| signals.received(), &mut listen)?;
    let code = match end {
        End::Done { .. } => ExitCode::SUCCESS,
        End::Interrupted { .. } => {
            report.summary()["exit_code"] = signals.exit_code().into();
            signals.exit_code().into()
        }
    };
    if output::json() {
        print(&report.summary().to_string())?;
    }
    Ok(code)
}

fn already_complete(arguments: &Arguments) -> Result<ExitCode> {
    let out = &arguments.out;
    tell(&format!("the run in {} is already complete", out.to_string_lossy().escape_debug()));
    if output::json() {
        print(&json!({ "state": "done", "sae": out.join("sae").to_string_lossy() }).to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings of the command line over those of a file: --config's, or where there is no data the previous run's.
fn read_settings(arguments: &Arguments, matches: &ArgMatches, previous: Option<PathBuf>) -> Result<Settings> {
    let flags = &arguments.settings;
    let previous = previous.filter(|_| flags.data.data.is_empty());
    match arguments.config.clone().or(previous) {
        Some(path) => config::under_flags(&path, flags, matches),
        None => Ok(flags.clone()),
    }
}
