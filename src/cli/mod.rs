//! The command line: one subcommand a file, each a call into the library and its result printed.

mod bench;
mod checkpoints;
mod completions;
mod config;
mod devices;
mod encode;
mod eval;
mod man;
mod metrics_log;
mod output;
mod plan;
mod previous_run;
mod progress;
mod rows;
mod run_directory;
mod run_record;
mod selftest;
mod settings;
mod signals;
mod train;
mod training_run;
mod tuning;
mod tuning_cache;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use monosem::data::Activations;
use monosem::engine::select::{SelectionMethod, Tuning};
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::sae::{self, SaeConfig, SaeFile, Weights};
use monosem::{Error, Result};
use serde::{Deserialize, Serialize};

use settings::ScreeningArguments;

pub use output::{report, report_usage};

/// Trains sparse autoencoders with millions of features on any GPU.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: output::OutputArguments,
}

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 the training failed, 2 usage or configuration, 3 data, 4 device, 5 file system.

Examples:
  monosem train --data activations/ --out run --expansion 8 --tokens 50000000
  monosem eval --sae run --data held-out/ --json";

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = "Example:\n  monosem devices")]
    Devices(devices::Arguments),
    #[command(after_help = "Examples:\n  monosem selftest\n  monosem selftest --device 1 --json")]
    Selftest(selftest::Arguments),
    #[command(after_help = "\
Examples:
  monosem train --data activations/ --out run --features 16384 --k 32 --tokens 100000000
  monosem train --config run/config.toml --out again --seed 1
  monosem train --out run --resume
  monosem train --data activations/ --out run --expansion 8 --steps 1500 --json --quiet | jq .fvu")]
    Train(Box<train::Arguments>),
    #[command(after_help = "\
Examples:
  monosem eval --sae run --data held-out/
  monosem eval --sae run/sae --data a.safetensors b.safetensors --json")]
    Eval(eval::Arguments),
    #[command(after_help = "Example:\n  monosem encode --sae run --data activations/ --out codes.safetensors")]
    Encode(encode::Arguments),
    #[command(after_help = "\
Examples:
  monosem plan --d 768 --features 1048576
  monosem plan --d 768 --features 33554432 --assume-memory 80GiB")]
    Plan(plan::Arguments),
    #[command(after_help = "\
Examples:
  monosem bench --d 768 --features 131072
  monosem bench --data activations/ --features 16384 --kernel encode --json")]
    Bench(bench::Arguments),
    #[command(after_help = "Examples:\n  monosem verify run\n  monosem verify run/checkpoints/step-500 --json")]
    Verify(verify::Arguments),
    #[command(after_help = "\
Examples:
  monosem completions bash > ~/.local/share/bash-completion/completions/monosem
  monosem completions zsh > ~/.zfunc/_monosem")]
    Completions(completions::Arguments),
    #[command(after_help = "Examples:\n  monosem man | man -l -\n  monosem man --out ~/.local/share/man/man1")]
    Man(man::Arguments),
}

/// Parses the command line. The matches tell besides which flags were given and which have their defaults.
pub fn parse() -> std::result::Result<(Arguments, ArgMatches), clap::Error> {
    let mut command = Arguments::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((arguments, matches))
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments, matches: &ArgMatches) -> Result<ExitCode> {
    output::set_style(&arguments.output);
    let given = matches.subcommand().map_or(matches, |(_, given)| given);
    match &arguments.command {
        Command::Devices(arguments) => devices::run(arguments),
        Command::Selftest(arguments) => selftest::run(arguments),
        Command::Train(arguments) => return train::run(arguments, given),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Encode(arguments) => encode::run(arguments),
        Command::Plan(arguments) => plan::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    }
    .map(|()| ExitCode::SUCCESS)
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
struct DeviceArguments {
    /// Device to run on: an index or PCI bus id of `monosem devices`, part of a name, or `cpu` [default: the best GPU
    /// that CUDA_VISIBLE_DEVICES does not hide; software only where there is no sign of a GPU]
    #[arg(long, value_name = "INDEX|PCI|NAME|cpu", help_heading = "Device")]
    device: Option<String>,
}

impl DeviceArguments {
    fn open(&self) -> Result<Gpu> {
        let choice = match &self.device {
            Some(text) => text.parse().map_err(|problem| Error::Config(format!("--device: {problem}")))?,
            None => AdapterChoice::default(),
        };
        let gpu = Gpu::open(&choice)?;
        for note in gpu.notes() {
            output::tell(&format!("note: {note}"));
        }
        output::tell(&format!("device: {}", gpu.description()));
        Ok(gpu)
    }
}

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
struct DataArguments {
    /// Activations: safetensors files, or directories of them
    #[arg(long, required = true, num_args = 1.., value_name = "PATH", help_heading = "Data")]
    data: Vec<PathBuf>,
}

/// An SAE applied to activations.
#[derive(Args, Debug)]
struct ApplyArguments {
    /// The SAE: a run directory, or a directory in SAELens's layout
    #[arg(long, value_name = "DIR")]
    sae: PathBuf,
    #[command(flatten)]
    data: DataArguments,
    /// Rows at a time
    #[arg(long, default_value_t = 4096)]
    batch: usize,
    #[command(flatten)]
    device: DeviceArguments,
    #[command(flatten)]
    screening: ScreeningArguments,
}

impl ApplyArguments {
    /// How the active features of a batch of rows are found.
    fn selection_method(&self, gpu: &Gpu, config: &SaeConfig, batch: usize) -> SelectionMethod {
        Tuning::estimated(gpu.description(), config, batch, self.screening.value()).method
    }

    /// The SAE, the data whose rows fit it, and the batch that the data can fill.
    fn open(&self) -> Result<(SaeFile, Arc<Activations>, usize)> {
        let sae = sae::open(&self.sae)?;
        let data = Activations::open(&self.data.data)?;
        if data.width() != sae.config().d_in {
            let problem = format!("its rows have {} values and the SAE takes {}", data.width(), sae.config().d_in);
            return Err(Error::data(&self.data.data[0], problem));
        }
        let batch = self.batch.min(usize::try_from(data.rows()).unwrap_or(usize::MAX));
        Ok((sae, Arc::new(data), batch))
    }
}
