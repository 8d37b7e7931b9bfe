//! The host's share of a training step: batches read, checked and uploaded, and the step submitted.
//!
//! `cargo bench --bench host -- --data PATH [--order rows|mixed|sequential] [--batch B] [--steps S]` uploads batches without
//! the kernels of a step; with `--read-only` it opens no device, with `--features N` it takes the steps of a TopK SAE. It
//! prints one JSON object: bytes read per second, and milliseconds of a step. On Linux these are told apart by thread, so
//! that a device which computes on the same cores is left out: what `cpu_milliseconds` counts is the time that a core
//! works for the thread that trains, and for those that read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use monosem::Result;
use monosem::data::{Activations, Batch, FilteredRows, OrderChoice, RowOrder, Stretch, TrainingRows};
use monosem::engine::parameters::Parameters;
use monosem::engine::planes::Planes;
use monosem::engine::select::{Screening, Tuning};
use monosem::engine::stage::World;
use monosem::engine::step::{StepInput, TrainingStep};
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::sae::SaeConfig;
use monosem::train::{Recipe, Trainer, initialize};

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
    /// Take steps of an SAE with so many features.
    #[arg(long, conflicts_with = "read_only")]
    features: Option<usize>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Batches before those that count: threads are started, a mixing buffer is filled, and a program's runs are timed.
const UNCOUNTED: usize = 20;

/// Steps of the schedule, more than are taken.
const STEPS: u64 = 1_000_000;

/// Batches that the threads may read ahead: none of them ends before the last batch that counts.
const AHEAD: u64 = 16;

fn main() -> Result<()> {
    let Arguments { data, tensor, order, batch, steps, read_only, features, .. } = Arguments::parse();
    let data = Arc::new(Activations::open_tensor(&data, &tensor)?);
    let choice = match order.as_str() {
        "rows" => OrderChoice::Rows,
        "mixed" => OrderChoice::Mixed,
        "sequential" => OrderChoice::Sequential,
        _ => OrderChoice::Auto,
    };
    let order = RowOrder::new(choice, data.kind(), RowOrder::BUFFER_BYTES);
    let rows = TrainingRows::from(FilteredRows::from(data.clone())).in_order(order);
    let mut work = match features {
        _ if read_only => Work::None,
        None => Work::Uploads(Box::new(Uploads::new(data.width(), batch)?)),
        Some(features) => Work::Steps(Box::new(trainer(data.width(), features, batch)?)),
    };
    let steps = steps as usize;
    let mut batches = rows.batches(Stretch { batch, seed: 0, first: 0, steps: (UNCOUNTED + steps) as u64 + AHEAD })?;
    for batch in batches.by_ref().take(UNCOUNTED) {
        work.take(&batch?)?;
    }
    let (started, cpu) = (Instant::now(), CpuSeconds::now());
    let mut uploads = 0.0;
    for batch in batches.by_ref().take(steps) {
        uploads += work.take(&batch?)?;
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), CpuSeconds::now().since(&cpu));
    let per_step = |seconds: f64| 1e3 * seconds / steps as f64;
    let bytes = (steps * batch * data.width() * data.dtype().bytes()) as f64;
    let result = serde_json::json!({
        "order": format!("{order:?}"),
        "dtype": data.dtype(),
        "d": data.width(),
        "batch": batch,
        "features": features,
        "gigabytes_per_second": bytes / seconds / 1e9,
        "milliseconds_per_step": per_step(seconds),
        "milliseconds_of_uploads": per_step(uploads),
        "cpu_milliseconds": { "training": per_step(cpu.training), "reading": per_step(cpu.reading) },
    });
    println!("{result}");
    Ok(())
}

/// What is done with each batch.
enum Work {
    None,
    Uploads(Box<Uploads>),
    Steps(Box<Trainer>),
}

impl Work {
    /// Takes a batch; the seconds of its upload, where there is nothing else.
    fn take(&mut self, batch: &Batch) -> Result<f64> {
        match self {
            Self::None => Ok(0.0),
            Self::Uploads(uploads) => uploads.take(batch),
            Self::Steps(trainer) => trainer.step(batch).map(|_| 0.0),
        }
    }
}

fn trainer(d: usize, features: usize, batch: usize) -> Result<Trainer> {
    let gpu = Gpu::open(&AdapterChoice::Best)?;
    // The host does the same for any k.
    let config = SaeConfig::top_k(d, features, 1);
    let initial = initialize(&config, 0, &vec![0.0; d])?;
    Trainer::new(&gpu, &initial, Recipe::top_k(features, batch, STEPS))
}

/// A training step that is begun and not taken.
struct Uploads {
    gpu: Gpu,
    step: TrainingStep,
}

impl Uploads {
    fn new(d: usize, batch: usize) -> Result<Self> {
        let gpu = Gpu::open(&AdapterChoice::Best)?;
        let config = SaeConfig::top_k(d, 1024, 32);
        let recipe = Recipe::top_k(1024, batch, STEPS);
        let parameters = Parameters::allocate(&gpu, &config, Planes::training(&config.describe()))?;
        let tuning = Tuning::estimated(gpu.description(), &config, batch, Screening::Auto);
        let step = TrainingStep::new(&gpu, parameters, recipe, tuning, World::Solo)?;
        Ok(Self { gpu, step })
    }

    /// Uploads a batch; the seconds until it was handed over.
    fn take(&mut self, batch: &Batch) -> Result<f64> {
        let started = Instant::now();
        let input = StepInput { rows: batch.rows.view(), learning_rate: 1e-3 };
        self.step.begin(&self.gpu, input)?;
        let seconds = started.elapsed().as_secs_f64();
        // The device's own copy, and its widening of 16-bit rows, are no work of the host but on a software device.
        self.gpu.wait_for_uploads()?;
        Ok(seconds)
    }
}

/// Seconds that cores worked for this thread, and for those that read; nothing where the system does not tell.
#[derive(Default)]
struct CpuSeconds {
    training: f64,
    reading: f64,
}

impl CpuSeconds {
    fn now() -> Self {
        let of = |thread: &Path| {
            let told = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            told.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(0.0) * 1e-9
        };
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|thread| thread.path());
        let is_reader =
            |thread: &PathBuf| fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("monosem-"));
        let reading = threads.filter(is_reader).map(|thread| of(&thread)).sum();
        Self { training: of(Path::new("/proc/thread-self")), reading }
    }

    fn since(&self, earlier: &Self) -> Self {
        Self { training: self.training - earlier.training, reading: self.reading - earlier.reading }
    }
}
