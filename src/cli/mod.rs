//! The command line: one subcommand a file, each a call into the library and its result printed.

mod devices;
mod encode;
mod eval;
mod output;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use monosem::Result;
use monosem::gpu::{AdapterChoice, Gpu};

/// Trains sparse autoencoders with millions of features on any GPU.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Devices(devices::Arguments),
    Train(train::Arguments),
    Eval(eval::Arguments),
    Encode(encode::Arguments),
}

/// Runs the subcommand.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Encode(arguments) => encode::run(&arguments),
    }
}

#[derive(Args, Debug)]
struct DeviceArguments {
    /// Device to run on: an index or PCI bus id of `monosem devices`, part of a name, or `cpu` [default: the first GPU]
    #[arg(long, value_name = "INDEX|PCI|NAME|cpu")]
    device: Option<AdapterChoice>,
}

impl DeviceArguments {
    fn open(&self) -> Result<Gpu> {
        let gpu = Gpu::open(&self.device.clone().unwrap_or_default())?;
        output::tell(&format!("device: {}", gpu.description()));
        Ok(gpu)
    }
}

#[derive(Args, Debug)]
struct DataArguments {
    /// Activations: safetensors files, or directories of them
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    data: Vec<PathBuf>,
}

#[derive(Args, Debug)]
struct SaeArguments {
    /// The SAE: a run directory, or a directory in SAELens's layout
    #[arg(long, value_name = "DIR")]
    sae: PathBuf,
}
