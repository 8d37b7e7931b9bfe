//! `monosem plan`

use clap::{ArgMatches, Args};
use monosem::Result;
use monosem::adapters::{AdapterDescription, DeviceMemory};
use monosem::data::Activations;
use monosem::measure::{Forecast, Plan, most_features};
use monosem::train::{Initialization, KAnnealing, Recipe};
use monosem::units::readable_bytes;
use serde_json::{Value, json};

use super::arguments::{
    DeviceArguments, DrawnArguments, ModelArguments, Moments, ScreeningArguments, Settings, Size, TuningArguments,
    count, open_files,
};
use super::config::{self, Layer};
use super::output::{self, print, print_result};
use super::presets::{self, Preset};

/// Estimate memory, disk space and time of a training run
#[derive(Args, Debug)]
pub struct Arguments {
    /// Width of an activation vector; it or --data is needed
    #[arg(
        long,
        visible_alias = "d-in",
        value_name = "D",
        value_parser = count::<usize>,
        required_unless_present = "data",
        conflicts_with = "data"
    )]
    d: Option<usize>,
    /// Activations to take the width from, as for train
    #[arg(long, num_args = 1.., value_name = "PATH")]
    data: Vec<std::path::PathBuf>,
    /// Tensor of each file that holds the rows
    #[arg(long, default_value = Activations::TENSOR, value_name = "NAME", requires = "data", conflicts_with = "d")]
    tensor: String,
    #[command(flatten)]
    model: ModelArguments,
    /// Plan for a published recipe, as for train; flags win over its settings [default: none]
    #[arg(long, value_name = "NAME", value_parser = presets::parse, help_heading = "Training")]
    preset: Option<&'static Preset>,
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
    #[command(flatten)]
    drawn: DrawnArguments,
    #[command(flatten)]
    device: DeviceArguments,
    #[command(flatten)]
    screening: ScreeningArguments,
    #[command(flatten)]
    tuning: TuningArguments,
    /// Plan for a GPU with this much memory, e.g. 80GiB, and bindings of 2 GiB [default: a device of this machine]
    #[arg(long, value_name = "SIZE", help_heading = "Device", conflicts_with = "device")]
    assume_memory: Option<Size>,
}

/// A GPU of which only the memory is known.
fn assumed(available: u64) -> AdapterDescription {
    AdapterDescription {
        name: "an assumed GPU".into(),
        kind: "discrete",
        max_binding_bytes: (1 << 31) - 4,
        max_buffer_bytes: (1 << 31) - 4,
        memory: Some(DeviceMemory { available, source: "--assume-memory" }),
        ..AdapterDescription::default()
    }
}

/// Prints the plan.
pub fn run(arguments: &Arguments, matches: &ArgMatches) -> Result<()> {
    let with_preset: Arguments;
    let arguments = match arguments.preset {
        None => arguments,
        Some(preset) => {
            // What else it sets takes neither memory nor time.
            with_preset = config::under_flags(&[Layer::Values(preset.settings)], matches, Settings::displaces)?;
            &with_preset
        }
    };
    let width = match arguments.d {
        Some(width) => width,
        None => open_files(&arguments.data, &arguments.tensor)?.width(),
    };
    let config = arguments.model.sae_config(width)?;
    let moments = arguments.moments.with_seed(0);
    // For how long k falls does not matter.
    let steps = 10_000;
    let k_annealing = arguments.model.k_annealing(steps)?.map(|annealing| KAnnealing { steps: 1, ..annealing });
    let start = arguments.drawn.initialization(&config.architecture)?;
    let usual_start = Initialization::default();
    let recipe = Recipe {
        moments,
        k_annealing,
        unit_norm_decoder: start.decoder_norm == usual_start.decoder_norm,
        ..Recipe::top_k(config.features, arguments.batch, steps)
    };
    recipe.validate_for(&config)?;
    let screening = arguments.screening.value();
    let gpu = match &arguments.assume_memory {
        Some(_) => None,
        None => Some(arguments.device.open()?),
    };
    let description = match (&gpu, &arguments.assume_memory) {
        (Some(gpu), _) => gpu.description().clone(),
        (None, size) => size.as_ref().map(|size| assumed(size.bytes)).unwrap_or_default(),
    };
    let tuning = arguments.tuning.known(&description, &config, &recipe, screening)?;
    let plan = Plan::of(&description, &config, &recipe, tuning)?;
    let needed = plan.needed(&description);
    let available = description.memory.as_ref().map(|memory| memory.available);
    let most_fitting = |available| most_features(&description, &config, &recipe, screening, available);
    let most = available.map(most_fitting).transpose()?;
    let devices = available.and_then(|available| plan.devices_needed(available));
    let fits = available.map(|available| needed <= available);
    // What does not fit would not run; what has no clock cannot be timed.
    let timed = gpu.as_ref().filter(|_| fits != Some(false) && description.timestamps);
    let measure = |start| timed.map(|gpu| Forecast::measure(gpu, &config, &recipe, tuning, start)).transpose();
    let forecast = measure(usual_start)?;
    let is_as_sparse = config.k().is_some() || start.sparsity == usual_start.sparsity;
    let first = if is_as_sparse { None } else { measure(start)? };
    let object = json!({
        "features": config.features,
        "d_in": config.d_in,
        "k": config.k(),
        "batch": recipe.batch,
        "device": description.name,
        "data": arguments.data,
        "shards": plan.shards,
        "encode": plan.tuning.encode.to_string(),
        "selection": plan.tuning.method.to_string(),
        "device_bytes": plan.device_bytes(),
        "device_bytes_by_part": plan.device,
        "host_bytes": plan.host,
        "needed_bytes": needed,
        "available_bytes": available,
        "available_source": description.memory.as_ref().map(|memory| memory.source),
        "fits": fits,
        "most_features": most,
        "devices_needed": devices,
        "checkpoint_bytes": plan.checkpoint,
        "sae_bytes": plan.sae,
        "flops_per_step": plan.flops(),
        "bytes_moved_per_step": plan.bytes_moved(),
        "seconds_per_step": forecast.as_ref().map(|forecast| forecast.seconds),
        "tokens_per_second": forecast.as_ref().map(|forecast| recipe.batch as f64 / forecast.seconds),
        "seconds_per_first_step": first.as_ref().map(|first| first.seconds),
        "first_step_by_slabs": first.as_ref().map(|first| first.by_slabs),
        "measured_flops_per_second": forecast.as_ref().map(|forecast| forecast.flops_per_second),
        "measured_bytes_per_second": forecast.as_ref().map(|forecast| forecast.bytes_per_second),
    });
    if output::json() {
        return print_result("plan", object);
    }
    print_table(&plan, &description, &object)
}

fn print_table(plan: &Plan, description: &AdapterDescription, object: &Value) -> Result<()> {
    let line = |name: &str, value: String| print(&format!("{name:26}  {value:>12}"));
    let number = |name: &str| object[name].as_u64().unwrap_or_default();
    for (part, bytes) in &plan.device {
        line(&format!("device: {part}"), readable_bytes(*bytes))?;
    }
    let shards = match plan.shards {
        1 => String::new(),
        shards => format!("  in {shards} shards"),
    };
    line("device memory", readable_bytes(plan.device_bytes()) + &shards)?;
    line("host memory, about", readable_bytes(plan.host))?;
    match &description.memory {
        Some(memory) => line("available", format!("{}  {}", readable_bytes(memory.available), memory.source))?,
        None => line("available", "not known here: give --assume-memory".into())?,
    }
    if description.is_on_cpu() {
        print("(the device is the CPU, whose memory is the host's: both are needed)")?;
    }
    if let (Some(fits), Some(most)) = (object["fits"].as_bool(), object["most_features"].as_u64()) {
        line("fits", if fits { "yes".into() } else { "no".into() })?;
        line("most features that fit", most.to_string())?;
    }
    if let (Some(false), Some(devices)) = (object["fits"].as_bool(), object["devices_needed"].as_u64()) {
        line("such devices needed", format!("{devices}  (sharing a model among devices is not supported yet)"))?;
    }
    line("a checkpoint", readable_bytes(plan.checkpoint))?;
    line("the SAE", readable_bytes(plan.sae))?;
    line("encode", plan.tuning.encode.to_string())?;
    line("selection", plan.tuning.method.to_string())?;
    line("work of a step", format!("{:.3} TFLOP", number("flops_per_step") as f64 * 1e-12))?;
    line("traffic of a step", readable_bytes(number("bytes_moved_per_step")))?;
    if let Some(seconds) = object["seconds_per_first_step"].as_f64() {
        let path = if object["first_step_by_slabs"] == true { "  by slabs" } else { "" };
        line("a first step, predicted", format!("{seconds:.3} s{path}"))?;
    }
    match object["seconds_per_step"].as_f64() {
        Some(seconds) => {
            line("a step, predicted", format!("{seconds:.3} s"))?;
            line("tokens per second", format!("{:.0}", object["tokens_per_second"].as_f64().unwrap_or_default()))
        }
        None => line("a step, predicted", "not measured".into()),
    }
}
