//! The host's share of a training step: batches read, checked and uploaded, without the kernels of the step.
//!
//! `cargo bench --bench host -- --data PATH [--order rows|mixed|sequential] [--batch B] [--steps S] [--read-only]` prints
//! one JSON object: bytes read per second, and milliseconds of a step.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use monosem::Result;
use monosem::data::{Activations, FilteredRows, OrderChoice, RowOrder, Stretch, TrainingRows};
use monosem::engine::parameters::Parameters;
use monosem::engine::planes::Planes;
use monosem::engine::select::{Screening, Tuning};
use monosem::engine::stage::World;
use monosem::engine::step::{StepInput, TrainingStep};
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::sae::SaeConfig;
use monosem::train::Recipe;

#[derive(Parser)]
struct Arguments {
    #[arg(long, required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[arg(long, default_value = "activations")]
    tensor: String,
    #[arg(long, default_value = "auto")]
    order: String,
    #[arg(long, default_value_t = 4096)]
    batch: usize,
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Without a device.
    #[arg(long)]
    read_only: bool,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let Arguments { data, tensor, order, batch, steps, read_only, .. } = Arguments::parse();
    let data = Arc::new(Activations::open_tensor(&data, &tensor)?);
    let choice = match order.as_str() {
        "rows" => OrderChoice::Rows,
        "mixed" => OrderChoice::Mixed,
        "sequential" => OrderChoice::Sequential,
        _ => OrderChoice::Auto,
    };
    let order = RowOrder::new(choice, data.kind(), RowOrder::BUFFER_BYTES);
    let rows = TrainingRows::from(FilteredRows::from(data.clone())).in_order(order);
    let mut device = if read_only { None } else { Some(Device::new(data.width(), batch, steps)?) };
    let mut upload = 0.0;
    let mut batches = rows.batches(Stretch { batch, seed: 0, first: 0, steps })?;
    // Threads are started, and a mixing buffer filled.
    let first = batches.next().expect("there is a step")?;
    if let Some(device) = &mut device {
        device.upload(&first)?;
    }
    let started = Instant::now();
    for batch in batches {
        let batch = batch?;
        if let Some(device) = &mut device {
            upload += device.upload(&batch)?;
        }
    }
    let (seconds, steps) = (started.elapsed().as_secs_f64(), (steps - 1) as f64);
    let bytes = steps * (batch * data.width() * data.dtype().bytes()) as f64;
    let result = serde_json::json!({
        "order": format!("{order:?}"),
        "dtype": data.dtype(),
        "d": data.width(),
        "batch": batch,
        "gigabytes_per_second": bytes / seconds / 1e9,
        "milliseconds_per_step": 1e3 * seconds / steps,
        "milliseconds_of_uploads": 1e3 * upload / steps,
    });
    println!("{result}");
    Ok(())
}

/// A training step that is begun and not taken.
struct Device {
    gpu: Gpu,
    step: TrainingStep,
}

impl Device {
    fn new(d: usize, batch: usize, steps: u64) -> Result<Self> {
        let gpu = Gpu::open(&AdapterChoice::Best)?;
        let config = SaeConfig::top_k(d, 1024, 32);
        let recipe = Recipe::top_k(1024, batch, steps);
        let parameters = Parameters::allocate(&gpu, &config, Planes::training(&config.describe()))?;
        let tuning = Tuning::estimated(gpu.description(), &config, batch, Screening::Auto);
        let step = TrainingStep::new(&gpu, parameters, recipe, tuning, World::Solo)?;
        Ok(Self { gpu, step })
    }

    /// Uploads a batch; the seconds until it was handed over.
    fn upload(&mut self, batch: &monosem::data::Batch) -> Result<f64> {
        let started = Instant::now();
        let input = StepInput { rows: batch.rows.view(), learning_rate: 1e-3 };
        self.step.begin(&self.gpu, input)?;
        let seconds = started.elapsed().as_secs_f64();
        // The device's own copy, and its widening of 16-bit rows, are no work of the host but on a software device.
        self.gpu.wait_for_uploads()?;
        Ok(seconds)
    }
}
