//! `monosem train`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{ArgMatches, Args};
use monosem::data::Stretch;
use monosem::measure::check_fits;
use monosem::run::{self, End, Job, Run, RunOptions};
use monosem::train::Recipe;
use monosem::{Error, Result};

use super::arguments::{Resolved, Settings, TuningArguments};
use super::config::{self, Layer};
use super::output::{self, print_result, tell};
use super::presets::{self, Preset};
use super::report::{RunReport, summary_of};
use super::row_source::RowSource;
use super::signals::Signals;

/// Train a sparse autoencoder
#[derive(Args, Debug)]
#[command(mut_arg("data", |arg| arg.required(false).required_unless_present_any(["config", "resume"])))]
pub struct Arguments {
    /// Directory for the run (must not exist or be empty): config.toml, run.json, metrics.jsonl, and the SAE in
    /// SAELens's layout under sae/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Resume from the newest intact checkpoint in --out, or start if there is none; a completed run is left alone.
    /// Settings that no flag gives come from the run's config.toml; flags that would change the result are refused
    #[arg(long)]
    resume: bool,
    /// With --resume: train for more steps (--steps or --tokens) than the run was planned for. The learning rate stays,
    /// and falls at the new end; a completed run continues from its newest checkpoint
    #[arg(long, requires = "resume")]
    extend: bool,
    /// TOML settings file; keys are the names of the flags from --data to --screening, e.g. `log-every = 5`.
    /// Command-line flags win; the words `default` and `none` take back what the file says [default: none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, value_name = "NAME", value_parser = presets::parse, help = presets::help())]
    preset: Option<&'static Preset>,
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
    "data",
    "init",
    "val",
    "eval-every",
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
    let mut settings = read_settings(arguments, matches, previous.clone())?;
    settings.check().map_err(|error| explain_resume(error, arguments, previous.as_deref(), is_resumed))?;
    if !is_resumed {
        run::check_new(out)?;
    }
    let is_done = is_resumed && run::is_done(out)?;
    if is_done && !arguments.extend && settings.data.is_stream() {
        return already_complete(arguments);
    }
    let source = match signals.deadly_while(|| RowSource::open(&settings)) {
        // A finished run stays finished when its data are gone.
        Err(_) if is_done && !arguments.extend => return already_complete(arguments),
        source => source?,
    };
    let width = source.width();
    let config = settings.sae_config(width)?;
    let planned = match &previous {
        Some(previous) if arguments.extend => Some(config::load::<Settings>(previous)?.recipe(config.features)?),
        _ => None,
    };
    if let Some(planned) = &planned {
        settings.training.keep_rise(planned);
        settings.model.keep_fall(planned.k_annealing);
    }
    let recipe = settings.recipe(config.features)?;
    recipe.validate_for(&config)?;
    let resolved = Resolved::new(&settings, &config, &recipe)?;
    let is_longer = planned.is_some_and(|planned| recipe.steps > planned.steps);
    if let Some(previous) = &previous {
        let of_length: &[&str] = if is_longer { &["steps", "decay"] } else { &[] };
        resolved.refuse_changes(previous, width, &[CHANGEABLE, of_length].concat())?;
    }
    if is_done && !is_longer {
        return already_complete(arguments);
    }

    let rows = source.rows(&settings)?;
    let stretch = Stretch { batch: recipe.batch, seed: settings.training.seed, first: 0, steps: recipe.steps };
    let resumed = is_resumed.then_some(out.as_path());
    let row_scale =
        signals.deadly_while(|| settings.normalization.row_scale(&settings.data, &rows, stretch, resumed))?;
    let recipe = Recipe { row_scale, ..recipe };
    let start = settings.initialization.start(&config, &recipe)?;
    let provenance = settings.metadata.over(rows.provenance());
    let validation = settings
        .validation
        .open(recipe.steps, config.d_in, &settings.data.tensor, |data| settings.rows.select(data))?;
    let gpu = settings.device.open()?;
    let screening = settings.screening.value();
    check_fits(gpu.description(), &config, &recipe, screening)?;
    let tuning = arguments.tuning.choose(&gpu, &config, &recipe, screening)?;
    let job = Job { config, recipe, tuning, seed: settings.training.seed, start, rows };
    job.check_memory()?;
    if !is_resumed {
        signals.deadly_while(|| job.wait_for_rows())?;
    }
    let options = RunOptions {
        checkpoints: settings.checkpoints.policy(),
        log_every: settings.training.log_every,
        validation,
        provenance: Some(provenance),
        config_toml: Some(resolved.to_toml(arguments.preset)?),
        // The comparison with its config.toml has refused what was not asked for; an interrupted extension
        // resumes like any run.
        extend: previous.is_some(),
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
        let summary = report.summary();
        summary["data"] = settings.data.data.iter().map(|path| path.to_string_lossy()).collect();
        summary["device"] = gpu.description().name.clone().into();
        print_result("train", summary.take())?;
    }
    Ok(code)
}

/// An error of settings that --resume was to find in the run, as what it comes from.
fn explain_resume(error: Error, arguments: &Arguments, previous: Option<&Path>, is_resumed: bool) -> Error {
    if !arguments.resume || arguments.config.is_some() || !arguments.settings.data.data.is_empty() {
        return error;
    }
    let out = arguments.out.to_string_lossy();
    let out = out.escape_debug();
    Error::Config(match previous {
        _ if !is_resumed => format!(
            "there is no run to resume in {out}: check the name, or start one with --data, --features or --expansion, \
             and --steps or --tokens"
        ),
        None => format!(
            "{out} has no config.toml, which has the settings of its run: give all the flags that the run began with"
        ),
        Some(_) => format!(
            "{out}/config.toml is empty or damaged ({error}): restore it, or remove it and give all the flags that the \
             run began with"
        ),
    })
}

fn already_complete(arguments: &Arguments) -> Result<ExitCode> {
    let out = &arguments.out;
    tell(&format!("the run in {} is already complete", out.to_string_lossy().escape_debug()));
    if output::json() {
        print_result("train", summary_of(out))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings of the command line over those of a preset and of a file: --config's, or that of the run to resume.
fn read_settings(arguments: &Arguments, matches: &ArgMatches, previous: Option<PathBuf>) -> Result<Settings> {
    let flags = &arguments.settings;
    let preset = arguments.preset.map(|preset| Layer::Values(preset.settings));
    let layers: Vec<_> = match (&arguments.config, &previous) {
        (Some(file), _) => preset.into_iter().chain([Layer::File(file)]).collect(),
        // A preset that is not the run's must not go unnoticed.
        (None, Some(file)) => [Layer::File(file)].into_iter().chain(preset).collect(),
        (None, None) => preset.into_iter().collect(),
    };
    if layers.is_empty() {
        return Ok(flags.clone());
    }
    config::under_flags(&layers, matches, Settings::displaces)
}
