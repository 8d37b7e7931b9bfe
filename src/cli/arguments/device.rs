//! The device, and the kernels it takes: no result depends on the kernels.

use clap::{Args, ValueEnum};
use monosem::engine::select::{Screening, Tuning};
use monosem::gpu::{AdapterChoice, AdapterDescription, Gpu};
use monosem::run::{choose_tuning, known_tuning};
use monosem::sae::SaeConfig;
use monosem::train::Recipe;
use monosem::{Error, Result};
use serde::Serialize;

use super::number::{Choice, name, or_default};
use crate::cli::output::tell;
use crate::cli::report::RunReport;

#[derive(Args, Clone, Debug, Serialize)]
pub struct DeviceArguments {
    /// Device to run on: an index or PCI bus id from `monosem devices`, part of a name, or `cpu` [default: the best GPU
    /// that CUDA_VISIBLE_DEVICES does not hide; the CPU only where there is no sign of a GPU]
    #[arg(
        long,
        value_name = "INDEX|PCI|NAME|cpu",
        value_parser = or_default(name),
        help_heading = "Device"
    )]
    device: Option<Choice<String>>,
}

impl DeviceArguments {
    /// The device, and a line on which one it is.
    pub fn open(&self) -> Result<Gpu> {
        let choice = match self.device.as_ref().and_then(Option::as_ref) {
            Some(text) => text.parse().map_err(|problem| Error::Config(format!("--device: {problem}")))?,
            None => AdapterChoice::default(),
        };
        let gpu = Gpu::open(&choice)?;
        for note in gpu.notes() {
            tell(&format!("note: {note}"));
        }
        tell(&format!("device: {}", gpu.description()));
        Ok(gpu)
    }
}

#[derive(Args, Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ScreeningArguments {
    /// Precision of the candidate search; results are identical to f32 either way [default: auto, f16 on matrix units
    /// where that is likely faster]
    #[arg(long, value_name = "auto|f32|f16", hide_possible_values = true, help_heading = "Device")]
    screening: Option<ScreeningValue>,
}

/// The values of `--screening`.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum ScreeningValue {
    Auto,
    F32,
    F16,
}

impl ScreeningArguments {
    /// For the library.
    pub fn value(self) -> Screening {
        match self.screening {
            None | Some(ScreeningValue::Auto) => Screening::Auto,
            Some(ScreeningValue::F32) => Screening::F32,
            Some(ScreeningValue::F16) => Screening::F16,
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct TuningArguments {
    /// Skip autotuning and use the default kernels; results are identical. Measurements are remembered in the user's
    /// cache directory or MONOSEM_CACHE_DIR
    #[arg(long, help_heading = "Device")]
    no_autotune: bool,
}

impl TuningArguments {
    /// The kernels that a run would take if it began now and measured nothing.
    pub fn known(
        &self,
        adapter: &AdapterDescription,
        config: &SaeConfig,
        recipe: &Recipe,
        screening: Screening,
    ) -> Result<Tuning> {
        if self.no_autotune {
            return Ok(Tuning::estimated(adapter, config, recipe.batch, screening));
        }
        let mut report = RunReport::default();
        known_tuning(adapter, config, recipe, screening, &mut |event| report.show(event))
    }

    /// The kernels that a run takes: measured now if they were not before and the run is long enough to gain by it.
    pub fn choose(&self, gpu: &Gpu, config: &SaeConfig, recipe: &Recipe, screening: Screening) -> Result<Tuning> {
        if self.no_autotune {
            return Ok(Tuning::estimated(gpu.description(), config, recipe.batch, screening));
        }
        let mut report = RunReport::default();
        choose_tuning(gpu, config, recipe, screening, &mut |event| report.show(event))
    }
}
