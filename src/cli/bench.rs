//! `monosem bench`

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use monosem::data::{Activations, Stretch, TrainingRows};
use monosem::engine::select::{Screening, SelectionMethod, Tuning};
use monosem::gpu::{AdapterDescription, Gpu};
use monosem::kernels::EncodeVariant;
use monosem::measure::{Ceilings, StepBenchmark, Timed, Work, check_fits, median, synthetic_rows, work};
use monosem::sae::SaeConfig;
use monosem::train::Recipe;
use monosem::{Error, Result};
use serde_json::{Value, json};

use super::arguments::{
    DeviceArguments, ModelArguments, Moments, ScreeningArguments, TuningArguments, count, open_files, open_sae,
};
use super::output::{self, print, print_result, tell};

/// Time a training step and its kernels on this device, and compare them with the device's peak
#[derive(Args, Debug)]
#[command(mut_arg("features", |arg| arg.help("Number of features [default: 16384]")))]
pub struct Arguments {
    /// Show only the kernels whose names contain this, e.g. encode [default: all]
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Time this many steps of each kind and show the medians
    #[arg(long, default_value_t = 5, value_name = "STEPS", value_parser = count::<u16>, allow_hyphen_values = true)]
    repeats: u16,
    /// Width of an activation vector
    #[arg(
        long,
        visible_alias = "d-in",
        default_value_t = 768,
        value_name = "D",
        value_parser = count::<usize>,
        conflicts_with = "data"
    )]
    d: usize,
    /// Activations to step on, as for train [default: sums of random directions]
    #[arg(long, num_args = 1.., value_name = "PATH")]
    data: Vec<PathBuf>,
    /// Tensor of each file that holds the rows
    #[arg(long, default_value = Activations::TENSOR, value_name = "NAME", requires = "data", conflicts_with = "d")]
    tensor: String,
    /// Benchmark with this SAE's weights (realistic feature frequencies): a run (finished or not), a checkpoint, or a
    /// directory in SAELens's layout [default: random initial weights]
    #[arg(long, value_name = "DIR", requires = "data", conflicts_with_all = ["features", "expansion", "k"])]
    sae: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Batch size, in rows (tokens)
    #[arg(
        long,
        default_value_t = 4096,
        value_parser = count::<usize>,
        allow_hyphen_values = true,
        help_heading = "Training"
    )]
    batch: usize,
    /// Precision of Adam's moments
    #[arg(
        long,
        default_value = "f32",
        value_name = "f32|bf16",
        hide_possible_values = true,
        help_heading = "Training"
    )]
    moments: Moments,
    /// Method that finds the active features; results are identical [default: as training would choose]
    #[arg(
        long,
        value_name = "chunked|grouped",
        hide_possible_values = true,
        help_heading = "Training",
        conflicts_with = "screening"
    )]
    selection: Option<Way>,
    /// Variant of encode, one of those that `monosem devices` lists; results are identical [default: as training would
    /// choose]
    #[arg(long, value_name = "VARIANT", help_heading = "Training")]
    encode: Option<String>,
    #[command(flatten)]
    device: DeviceArguments,
    #[command(flatten)]
    screening: ScreeningArguments,
    #[command(flatten)]
    tuning: TuningArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    Chunked,
    Grouped,
}

/// Batches that the steps take in turn, so that no cache holds the next one.
const BATCHES: u64 = 4;

/// Prints a table, or one object.
pub fn run(arguments: &Arguments) -> Result<()> {
    let batch = arguments.batch;
    let data = match &arguments.data[..] {
        [] => None,
        paths => Some(open_files(paths, &arguments.tensor)?),
    };
    let width = data.as_ref().map_or(arguments.d, Activations::width);
    let sae = arguments.sae.as_deref().map(open_sae).transpose()?.map(|opened| opened.weights);
    let config = match &sae {
        Some(sae) if sae.config().d_in == width => sae.config().clone(),
        Some(sae) => {
            let problem = format!("its rows have {width} values and the SAE takes {}", sae.config().d_in);
            return Err(Error::data(&arguments.data[0], problem));
        }
        None => arguments.model.clone().or_features(16_384).sae_config(width)?,
    };
    if arguments.model.k_start().is_some() {
        return Err(Error::Config("bench times steps of one k: leave --k-start out, and give that k with --k".into()));
    }
    let recipe = Recipe { moments: arguments.moments.with_seed(0), ..Recipe::top_k(config.features, batch, 1_000_000) };
    recipe.validate()?;
    let screening = arguments.screening.value();
    let gpu = arguments.device.open()?;
    let description = gpu.description();
    check_fits(description, &config, &recipe, screening)?;
    let batches = match data {
        None => (0..BATCHES).map(|seed| synthetic_rows(batch, width, seed)).collect(),
        Some(data) => {
            let stretch = Stretch { batch, seed: 0, first: 0, steps: BATCHES };
            let batches = TrainingRows::from(Arc::new(data)).batches(stretch)?;
            batches.map(|batch| Ok(batch?.rows.to_f32().into_owned())).collect::<Result<Vec<_>>>()?
        }
    };
    let tuning = choose_tuning(arguments, &gpu, &config, &recipe, screening)?;
    let mut benchmark = match &sae {
        Some(sae) => StepBenchmark::with_weights(&gpu, &**sae, recipe.clone(), tuning, batches)?,
        None => StepBenchmark::new(&gpu, &config, recipe.clone(), tuning, batches)?,
    };
    let tuning = benchmark.tuning();
    let repeats = usize::from(arguments.repeats);
    let step = median((0..repeats).map(|_| benchmark.step()).collect::<Result<_>>()?);
    let mut object = json!({
        "device": description.name,
        "driver": description.driver,
        "backend": description.backend,
        "kind": description.kind,
        "as_gpu": description.as_gpu,
        "max_binding_bytes": gpu.max_binding_bytes(),
        "data": arguments.data,
        "sae": arguments.sae,
        "d_in": config.d_in,
        "features": config.features,
        "k": config.k(),
        "batch": batch,
        "moments": arguments.moments,
        "encode": tuning.encode.to_string(),
        "selection": tuning.method.to_string(),
        "repeats": repeats,
        "step_seconds": step,
        "tokens_per_second": batch as f64 / step,
    });
    if description.timestamps {
        let work = work(&config, &recipe, tuning.method);
        let timed = benchmark.operations(repeats)?;
        drop(benchmark);
        let ceilings = Ceilings::measure(&gpu)?;
        object["ceiling_flops_per_second"] = ceilings.flops_per_second.into();
        object["ceiling_bytes_per_second"] = ceilings.bytes_per_second.into();
        object["kernels_seconds"] = timed.values().map(|timed| timed.seconds).sum::<f64>().into();
        let mut kernels: Vec<(String, Timed)> = timed.into_iter().collect();
        kernels.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
        if let Some(wanted) = &arguments.kernel {
            let names: Vec<_> = kernels.iter().map(|(name, _)| name.clone()).collect();
            kernels.retain(|(name, _)| name.contains(wanted));
            if kernels.is_empty() {
                let (wanted, names) = (wanted.escape_debug(), names.join(", "));
                return Err(Error::Config(format!("--kernel {wanted}: a step has no such kernel; there are {names}")));
            }
        }
        let kernels = kernels.iter().map(|(name, timed)| kernel_json(name, *timed, &work, &ceilings));
        object["kernels"] = kernels.collect();
    } else {
        tell(&format!("note: {} has no timestamps: only whole steps are timed", description.name));
    }
    if output::json() { print_result("bench", object) } else { print_table(&object, &config, description) }
}

/// The kernels that the flags ask for, and for the rest those that training would take.
fn choose_tuning(
    arguments: &Arguments,
    gpu: &Gpu,
    config: &SaeConfig,
    recipe: &Recipe,
    screening: Screening,
) -> Result<Tuning> {
    let adapter = gpu.description();
    let encode = match &arguments.encode {
        None => None,
        Some(name) => {
            let all = EncodeVariant::available(adapter);
            let known = all.iter().find(|variant| variant.to_string() == *name).ok_or_else(|| {
                let (name, all) = (name.escape_debug(), all.iter().map(EncodeVariant::to_string).collect::<Vec<_>>());
                Error::Config(format!("--encode {name}: this device has {}", all.join(", ")))
            })?;
            Some(*known)
        }
    };
    let Tuning { encode, method } = match encode {
        // A group is as large as the variant makes it.
        Some(encode) => match Tuning::estimated(adapter, config, recipe.batch, screening).method {
            SelectionMethod::Grouped { .. } => Tuning { encode, method: grouped(encode) },
            method => Tuning { encode, method },
        },
        None => arguments.tuning.choose(gpu, config, recipe, screening)?,
    };
    let method = match arguments.selection {
        None => method,
        Some(Way::Chunked) => SelectionMethod::Chunked,
        Some(Way::Grouped) => grouped(encode),
    };
    Ok(Tuning { encode, method })
}

fn grouped(encode: EncodeVariant) -> SelectionMethod {
    SelectionMethod::Grouped { group: encode.group() }
}

fn kernel_json(name: &str, timed: Timed, work: &[Work], ceilings: &Ceilings) -> Value {
    let work = Work::of(work, name);
    json!({
        "kernel": name,
        "dispatches": timed.dispatches,
        "seconds": timed.seconds,
        "flops": work.map(|work| work.flops),
        "bytes": work.map(|work| work.bytes),
        "floor_seconds": work.map(|work| ceilings.floor(work)),
    })
}

fn print_table(object: &Value, config: &SaeConfig, description: &AdapterDescription) -> Result<()> {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let (SaeConfig { d_in, features, .. }, k) = (config, config.usual_l0());
    print(&format!("{description}"))?;
    print(&format!(
        "{features} features of {d_in} values, {k} per row, {} rows per step; moments {}, encode {}, selection {}",
        object["batch"],
        object["moments"].as_str().unwrap_or_default(),
        object["encode"].as_str().unwrap_or_default(),
        object["selection"].as_str().unwrap_or_default()
    ))?;
    if let Some(kernels) = object["kernels"].as_array() {
        let all = number(&object["kernels_seconds"]);
        print(&format!(
            "\n{:18}{:>12}{:>9}{:>12}{:>10}{:>12}",
            "kernel", "ms", "of step", "GFLOP/s", "GB/s", "of floor"
        ))?;
        for kernel in kernels {
            let seconds = number(&kernel["seconds"]);
            let rate = |amount: &Value| match amount.as_u64() {
                Some(amount) if amount > 0 => format!("{:.1}", amount as f64 / seconds * 1e-9),
                _ => "-".into(),
            };
            let share = match kernel["floor_seconds"].as_f64() {
                Some(floor) if floor > 0.0 => format!("{:.0} %", 100.0 * floor / seconds),
                _ => "-".into(),
            };
            print(&format!(
                "{:18}{:>12.3}{:>9}{:>12}{:>10}{:>12}",
                kernel["kernel"].as_str().unwrap_or_default(),
                1e3 * seconds,
                format!("{:.1} %", 100.0 * seconds / all),
                rate(&kernel["flops"]),
                rate(&kernel["bytes"]),
                share
            ))?;
        }
        print(&format!("{:18}{:>12.3}", "all kernels", 1e3 * all))?;
        print(&format!(
            "ceilings: {:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copying",
            1e-9 * number(&object["ceiling_flops_per_second"]),
            1e-9 * number(&object["ceiling_bytes_per_second"])
        ))?;
    }
    print(&format!(
        "a step: {:.3} ms on the host's clock, {:.0} tokens/s",
        1e3 * number(&object["step_seconds"]),
        number(&object["tokens_per_second"])
    ))
}
