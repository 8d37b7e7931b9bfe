//! A training step, and each of its operations on the device's own clock, under criterion: for the change from one
//! build to the next. `monosem bench` measures the same by the same code, and compares it with what the device can do.
//!
//!     cargo bench --bench step -- step/             the whole step
//!     cargo bench --bench step -- kernel/           each operation's share of it
//!
//! MONOSEM_BENCH=d,n,k,batch sets the sizes (default 384,16384,32,2048).

use std::time::Duration;

use criterion::Criterion;
use monosem::engine::select::{Screening, Tuning};
use monosem::gpu::{AdapterChoice, Gpu, Span};
use monosem::measure::{StepBenchmark, synthetic_rows};
use monosem::sae::SaeConfig;
use monosem::train::Recipe;

fn sizes() -> [usize; 4] {
    let text = std::env::var("MONOSEM_BENCH").unwrap_or_else(|_| "384,16384,32,2048".into());
    let sizes: Vec<usize> = text.split(',').filter_map(|size| size.parse().ok()).collect();
    sizes.try_into().expect("MONOSEM_BENCH=d,n,k,batch")
}

fn main() -> monosem::Result<()> {
    let [d, n, k, batch] = sizes();
    let gpu = Gpu::open(&AdapterChoice::Best)?;
    println!("{}", gpu.description());
    let config = SaeConfig::top_k(d, n, k);
    let tuning = Tuning::estimated(gpu.description(), &config, batch, Screening::Auto);
    let batches = (0..4).map(|seed| synthetic_rows(batch, d, seed)).collect();
    let mut bench = StepBenchmark::new(&gpu, &config, Recipe::top_k(n, batch, 1_000_000), tuning, batches)?;
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();

    criterion.bench_function(&format!("step/d{d}_n{n}_k{k}_b{batch}"), |bencher| {
        bencher.iter_custom(|iterations| {
            let steps = (0..iterations).map(|_| bench.step().expect("the first step went well"));
            Duration::from_secs_f64(steps.sum())
        });
    });

    if !gpu.description().timestamps {
        println!("kernels are not timed: the device has no timestamps");
        return Ok(());
    }
    for operation in bench.operations(1)?.into_keys() {
        criterion.bench_function(&format!("kernel/{operation}/d{d}_n{n}_k{k}_b{batch}"), |bencher| {
            bencher.iter_custom(|iterations| {
                let spans = (0..iterations).flat_map(|_| bench.spans().expect("it was timed before"));
                let of_operation = spans.filter(|span| span.operation() == operation);
                Duration::from_secs_f64(of_operation.map(|span| Span::seconds(&span)).sum())
            });
        });
    }
    criterion.final_summary();
    Ok(())
}
