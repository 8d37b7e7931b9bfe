//! `monosem data`

mod convert;
mod info;
mod progress;
mod shuffle;

pub use progress::RowProgress;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use monosem::Result;
use monosem::data::Activations;

use super::arguments::{is_stream, open_files};
use super::output::tell;

/// Look into sets of activations, shuffle them on the disk, or convert them
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = "\
Examples:
  monosem data info activations/
  monosem data info activations/ --write
  monosem data info a.safetensors b.safetensors --json | jq .gamma
  python harvest.py --stream | monosem data info -")]
    Info(info::Arguments),
    #[command(after_help = "\
Examples:
  monosem data shuffle activations/ --out shuffled
  monosem data shuffle activations/ --out shuffled --seed 1 --memory 16GiB

Ctrl-C, or a kill, leaves the hidden directory .NAME.shuffle beside --out: the same command continues.")]
    Shuffle(shuffle::Arguments),
    #[command(after_help = "\
Examples:
  monosem data convert activations/ --out half --dtype f16
  monosem data convert a.safetensors b.safetensors --out set --shard-rows 1M
  python harvest.py --stream | monosem data convert - --out activations")]
    Convert(convert::Arguments),
}

/// The files.
#[derive(Args, Clone, Debug)]
struct FileArguments {
    /// Activations: safetensors, NumPy or Arrow files, directories of them, or what Hugging Face `datasets` saves; `-`
    /// is an Arrow stream on standard input, for info and convert
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Tensor or column of each file that holds the rows
    #[arg(long, default_value = Activations::TENSOR, value_name = "NAME")]
    tensor: String,
}

impl FileArguments {
    fn open(&self) -> Result<Activations> {
        open_files(&self.paths, &self.tensor)
    }

    fn is_stream(&self) -> bool {
        is_stream(&self.paths)
    }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Info(arguments) => info::run(arguments).map(|()| ExitCode::SUCCESS),
        Command::Shuffle(arguments) => shuffle::run(arguments),
        Command::Convert(arguments) => convert::run(arguments).map(|()| ExitCode::SUCCESS),
    }
}

fn tell_notes(notes: &[String]) {
    notes.iter().for_each(|note| tell(&format!("note: {note}")));
}

fn counted_files(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}
