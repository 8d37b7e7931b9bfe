//! The command line: one subcommand a file, each a call into the library and its result printed.

mod arguments;
mod bench;
mod codes_file;
mod completions;
mod config;
mod data;
mod density;
mod devices;
mod encode;
mod eval;
mod explore;
mod export;
mod features;
mod label;
mod logits;
mod man;
mod neighbors;
mod neuronpedia;
mod origin;
mod output;
mod plan;
#[cfg(feature = "plot")]
mod plot;
mod presets;
mod progress;
mod report;
mod row_source;
mod selftest;
mod signals;
mod stderr;
mod train;
mod verify;
mod write_report;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use monosem::Result;

pub use output::{report, report_usage};

/// Train sparse autoencoders with millions of features on any GPU.
#[derive(Debug, Parser)]
#[command(version = version(), arg_required_else_help = true, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: output::OutputArguments,
}

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 the training failed, 2 usage or configuration, 3 data, 4 device, 5 file system. \
129, 130, 138, 143: ended by SIGHUP, SIGINT, SIGUSR1 or SIGTERM (128 + signal) with the state saved; train --resume \
continues, and so does the same data shuffle.

Examples:
  monosem train --data activations/ --out run --expansion 8 --tokens 50M
  monosem eval --sae run --data held-out/ --json";

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = "Example:\n  monosem devices")]
    Devices(devices::Arguments),
    #[command(after_help = "Examples:\n  monosem selftest\n  monosem selftest --device 1 --json")]
    Selftest(selftest::Arguments),
    #[command(after_help = "\
Examples:
  monosem train --data activations/ --out run --features 16384 --k 32 --tokens 100M
  monosem train --config run/config.toml --out again --seed 1
  monosem train --out run --resume
  monosem train --data activations/ --out run --expansion 8 --steps 1500 --json --quiet | jq .fvu")]
    Train(Box<train::Arguments>),
    #[command(after_help = "\
Examples:
  monosem data info activations/
  monosem data shuffle activations/ --out shuffled
  monosem data convert activations/ --out half --dtype f16")]
    Data(data::Arguments),
    #[command(after_help = "\
Examples:
  monosem eval --sae run --data held-out/
  monosem eval --sae run/checkpoints/step-500 --data a.safetensors b.safetensors --json")]
    Eval(eval::Arguments),
    #[command(after_help = "Example:\n  monosem encode --sae run --data activations/ --out codes.safetensors")]
    Encode(encode::Arguments),
    #[command(after_help = "\
Examples:
  monosem features --sae run --data activations/ --tokenizer tokenizer.json --out features
  monosem features --sae run --data activations/ --out features --examples 20 --before 0 --after 0

Ctrl-C leaves nothing behind.")]
    Features(Box<features::Arguments>),
    #[command(after_help = "\
Examples:
  monosem neighbors --sae run --out neighbors.safetensors
  monosem neighbors --sae run --feature 12 99
  monosem neighbors --sae small --with large --feature 12")]
    Neighbors(neighbors::Arguments),
    #[command(after_help = "\
Examples:
  monosem logits --sae run --unembed model.safetensors --out logits.safetensors
  monosem logits --sae run --unembed model.safetensors --final-norm model.safetensors --out logits.safetensors")]
    Logits(logits::Arguments),
    #[command(after_help = "\
Examples:
  monosem label export --features features --out prompts.jsonl
  monosem label import --features features --labels labels.jsonl")]
    Label(label::Arguments),
    #[command(after_help = "\
Example:
  monosem neuronpedia --features features --out export --source-set res-16k \\
    --creator-id ID --creator-name NAME")]
    Neuronpedia(neuronpedia::Arguments),
    #[command(visible_alias = "import")]
    #[command(after_help = "\
Examples:
  monosem export --sae run --out sae
  monosem export --sae run/checkpoints/step-500 --out sae-500 --json
  monosem import --sae checkpoints/run/layers.3 --out sae")]
    Export(export::Arguments),
    #[command(after_help = "Example:\n  monosem report --features features")]
    Report(write_report::Arguments),
    #[command(after_help = "Examples:\n  monosem explore features\n  monosem explore features/report --port 0 --open")]
    Explore(explore::Arguments),
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
    #[cfg(feature = "plot")]
    #[command(after_help = "Examples:\n  monosem plot run\n  monosem plot run-a run-b --out both.svg")]
    Plot(plot::Arguments),
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

/// The version, and the commit where it is known.
fn version() -> &'static str {
    match option_env!("MONOSEM_COMMIT") {
        Some(commit) => format!("{} (commit {commit})", env!("CARGO_PKG_VERSION")).leak(),
        None => env!("CARGO_PKG_VERSION"),
    }
}

/// Parses the command line. The matches tell besides which flags were given and which have their defaults.
pub fn parse() -> std::result::Result<(Arguments, ArgMatches), clap::Error> {
    let mut command = Arguments::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    if arguments.output.is_contradictory() {
        // One before the subcommand and one after it: clap compares neither.
        let words = "the argument '--quiet' cannot be used with '--verbose...'";
        return Err(command.error(ErrorKind::ArgumentConflict, words));
    }
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
        Command::Data(arguments) => return data::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Encode(arguments) => encode::run(arguments),
        Command::Features(arguments) => return features::run(arguments),
        Command::Neighbors(arguments) => neighbors::run(arguments),
        Command::Logits(arguments) => logits::run(arguments),
        Command::Label(arguments) => label::run(arguments),
        Command::Neuronpedia(arguments) => neuronpedia::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Report(arguments) => write_report::run(arguments),
        Command::Explore(arguments) => return explore::run(arguments),
        Command::Plan(arguments) => plan::run(arguments, given),
        Command::Bench(arguments) => bench::run(arguments),
        #[cfg(feature = "plot")]
        Command::Plot(arguments) => plot::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    }
    .map(|()| ExitCode::SUCCESS)
}
