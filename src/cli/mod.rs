//! The command line: one subcommand a file, each a call into the library and its result printed.

mod devices;
mod encode;
mod eval;
mod output;
mod train;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use monosem::data::Activations;
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::sae::{self, Sae};
use monosem::{Error, Result};

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
}

impl ApplyArguments {
    /// The SAE, the data whose rows fit it, and the batch that the data can fill.
    fn open(&self) -> Result<(Sae, Arc<Activations>, usize)> {
        let sae = sae::load(&self.sae)?;
        let data = Activations::open(&self.data.data)?;
        if data.width() != sae.config.d_in {
            let problem = format!("its rows have {} values and the SAE takes {}", data.width(), sae.config.d_in);
            return Err(Error::data(&self.data.data[0], problem));
        }
        let batch = self.batch.min(usize::try_from(data.rows()).unwrap_or(usize::MAX));
        Ok((sae, Arc::new(data), batch))
    }
}
