//! An SAE applied to activations.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use monosem::data::Activations;
use monosem::engine::select::Tuning;
use monosem::gpu::Gpu;
use monosem::run::{self, OpenedSae};
use monosem::sae::SaeConfig;
use monosem::{Error, Result};

use super::data::DataArguments;
use super::device::{DeviceArguments, ScreeningArguments};
use super::number::count;
use crate::cli::output::tell;

/// An SAE applied to activations.
#[derive(Args, Debug)]
pub struct ApplyArguments {
    /// SAE to use: a run (finished or not), a checkpoint, or a directory in SAELens's layout
    #[arg(long, value_name = "DIR")]
    pub sae: PathBuf,
    #[command(flatten)]
    data: DataArguments,
    /// Batch size, in rows (tokens)
    #[arg(long, default_value_t = 4096, value_parser = count::<usize>, allow_hyphen_values = true)]
    batch: usize,
    #[command(flatten)]
    pub device: DeviceArguments,
    #[command(flatten)]
    screening: ScreeningArguments,
}

/// An SAE, activations that fit it, and the batch size that they can fill.
pub struct Application {
    pub sae: OpenedSae,
    pub data: Arc<Activations>,
    pub batch: usize,
}

impl ApplyArguments {
    /// The kernels that find the active features of a batch of rows.
    pub fn tuning(&self, gpu: &Gpu, config: &SaeConfig, batch: usize) -> Tuning {
        Tuning::estimated(gpu.description(), config, batch, self.screening.value())
    }

    /// Opens the SAE and the data, whose rows must fit it.
    pub fn open(&self) -> Result<Application> {
        let sae = open_sae(&self.sae)?;
        let data = self.data.open()?;
        let width = sae.weights.config().d_in;
        if data.width() != width {
            let problem = format!("its rows have {} values and the SAE takes {width}", data.width());
            return Err(Error::data(&self.data.data[0], problem));
        }
        let batch = self.batch.min(usize::try_from(data.rows()).unwrap_or(usize::MAX));
        Ok(Application { sae, data: Arc::new(data), batch })
    }
}

/// The SAE at a path, and a line on the checkpoint if it is from one.
pub fn open_sae(path: &Path) -> Result<OpenedSae> {
    if path.is_file() {
        return Err(Error::data(path, "is a file: give --sae the directory that it is in"));
    }
    let sae = run::open_sae(path)?;
    for error in &sae.skipped {
        tell(&format!("note: skipping a damaged checkpoint: {error}"));
    }
    if let Some(checkpoint) = &sae.checkpoint {
        let path = checkpoint.path.to_string_lossy();
        tell(&format!(
            "note: the SAE is that of step {}, from the checkpoint {}",
            checkpoint.step,
            path.escape_debug()
        ));
    }
    Ok(sae)
}
