//! One training step, and each of its kernels on the device's own clock, on rows that are sparse sums of a fixed dictionary.
//!
//!     cargo bench --bench step -- step/             the whole step
//!     cargo bench --bench step -- kernel/           each kernel's share of it
//!     cargo bench --bench step -- profile           seconds of each kernel, the median of five steps, as a line of JSON
//!
//! MONOSEM_BENCH=d,n,k,batch sets the sizes (default 384,16384,32,2048), MONOSEM_SELECTION=chunked|grouped the way to select
//! features (default: as training would choose).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use criterion::Criterion;
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::kernels::{BackwardKernels, EncodeVariant, ForwardKernels, SelectionMethod};
use monosem::rng::{Purpose, Rng, symmetric};
use monosem::sae::{Parameters, SaeConfig};
use monosem::train::{Recipe, TrainingStep, initialize};

/// Batches that the steps take in turn, so that no cache holds the next one.
const BATCHES: u64 = 4;

struct Bench {
    gpu: Gpu,
    step: TrainingStep,
    batches: Vec<Vec<f32>>,
    taken: usize,
}

impl Bench {
    fn new([d, features, k, batch]: [usize; 4]) -> monosem::Result<Self> {
        let gpu = Gpu::open(&AdapterChoice::Best)?;
        println!("{}", gpu.description());
        let batches: Vec<_> = (0..BATCHES).map(|seed| rows(batch, d, seed)).collect();
        let config =
            SaeConfig { d_in: d, features, k, rescale_acts_by_decoder_norm: false, apply_b_dec_to_input: true };
        let initial = initialize(&config, 0, &batches[0])?;
        let method = match std::env::var("MONOSEM_SELECTION").as_deref() {
            Ok("chunked") => SelectionMethod::Chunked,
            Ok("grouped") => SelectionMethod::Grouped { group: EncodeVariant::best(gpu.description()).group() },
            _ => config.selection_method(gpu.description(), batch),
        };
        println!("selection: {method}");
        let forward = ForwardKernels::new(&gpu, k as u32, method)?;
        let parameters = Parameters::upload(&gpu, &forward.norms, &initial)?;
        let recipe = Recipe::top_k(features, batch, 1_000_000);
        let step = TrainingStep::new(&gpu, (&forward, &BackwardKernels::new(&gpu, false)?), parameters, recipe)?;
        Ok(Self { gpu, step, batches, taken: 0 })
    }

    /// Prints the median of each operation's seconds a step.
    fn profile(&self) -> monosem::Result<()> {
        let mut seconds: BTreeMap<String, [f64; 5]> = BTreeMap::new();
        for run in 0..5 {
            for (label, time) in self.gpu.profile(self.step.program())? {
                let operation = label.split('.').next().unwrap_or(&label).to_owned();
                seconds.entry(operation).or_default()[run] += time;
            }
        }
        let median = |mut times: [f64; 5]| {
            times.sort_by(f64::total_cmp);
            times[2]
        };
        let medians: BTreeMap<_, _> = seconds.into_iter().map(|(name, times)| (name, median(times))).collect();
        println!("{}", serde_json::json!({ "sizes": sizes(), "seconds": medians }));
        Ok(())
    }

    fn step(&mut self) -> monosem::Result<()> {
        self.taken += 1;
        let rows = &self.batches[self.taken % self.batches.len()];
        let pending = self.step.submit(&self.gpu, rows, 1e-4)?;
        self.step.results(&self.gpu, pending).map(drop)
    }
}

/// Sums of 24 of 8 d fixed directions, plus noise.
fn rows(count: usize, d: usize, seed: u64) -> Vec<f32> {
    let (rng, noise) = (Rng::new(0, Purpose::Weights), Rng::new(1 + seed, Purpose::Weights));
    let atom = |atom: u32, at: usize| symmetric(rng.block(atom.into(), at as u32 / 4)[at % 4]);
    let mut rows = Vec::with_capacity(count * d);
    for row in 0..count {
        let draws: Vec<_> = (0..24).map(|term| noise.block(row as u64, term)).collect();
        for at in 0..d {
            let sum: f32 =
                draws.iter().map(|[a, w, ..]| (1.0 + symmetric(*w) / 2.0) * atom(a % (8 * d as u32), at)).sum();
            rows.push(sum / (d as f32).sqrt() + 0.05 * symmetric(noise.block((count + row) as u64, at as u32)[0]));
        }
    }
    rows
}

fn sizes() -> [usize; 4] {
    let text = std::env::var("MONOSEM_BENCH").unwrap_or_else(|_| "384,16384,32,2048".into());
    let sizes: Vec<usize> = text.split(',').filter_map(|size| size.parse().ok()).collect();
    sizes.try_into().expect("MONOSEM_BENCH=d,n,k,batch")
}

fn main() -> monosem::Result<()> {
    let [d, n, k, batch] = sizes();
    let mut bench = Bench::new(sizes())?;
    bench.step()?;
    if std::env::args().any(|argument| argument == "profile") {
        return bench.profile();
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();

    criterion.bench_function(&format!("step/d{d}_n{n}_k{k}_b{batch}"), |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for _ in 0..iterations {
                bench.step().expect("the first step went well");
            }
            start.elapsed()
        });
    });

    let kernels: BTreeSet<String> = match bench.gpu.profile(bench.step.program()) {
        Ok(timed) => timed.into_iter().map(|(kernel, _)| kernel).collect(),
        Err(error) => {
            println!("kernels are not timed: {error}");
            BTreeSet::new()
        }
    };
    for kernel in kernels {
        criterion.bench_function(&format!("kernel/{kernel}/d{d}_n{n}_k{k}_b{batch}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let profile = || bench.gpu.profile(bench.step.program()).expect("it was profiled before");
                let runs = (0..iterations).flat_map(|_| profile());
                Duration::from_secs_f64(runs.filter(|(name, _)| *name == kernel).map(|(_, seconds)| seconds).sum())
            });
        });
    }
    criterion.final_summary();
    Ok(())
}
