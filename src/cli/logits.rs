//! `monosem logits`

use std::path::PathBuf;

use clap::Args;
use monosem::features::logits::LogitWeights;
use monosem::gpu::Gpu;
use monosem::sae::Weights;
use monosem::storage::WholeFile;
use monosem::{Error, Result};
use serde_json::{Value, json};

use super::arguments::{DeviceArguments, ModelEnd, UnembeddingArguments, count, open_sae};
use super::origin::{self, SaeOrigin};
use super::output::{self, print_result, tell};

/// The format of the file; a change that a reader must know of raises the number.
const FORMAT: (&str, &str) = ("monosem.logits", "1");

/// Write the tokens that each feature makes likelier and less likely, by its decoder row's product with the
/// unembedding: `top_tokens` and `bottom_tokens` i32 [features, N], `top_logits` and `bottom_logits` f32
#[derive(Args, Debug)]
pub struct Arguments {
    /// SAE to look at: a run (finished or not), a checkpoint, or a directory in SAELens's layout
    #[arg(long, value_name = "DIR")]
    sae: PathBuf,
    /// File to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Features to work on at a time
    #[arg(long, default_value_t = 4096, value_parser = count::<usize>, allow_hyphen_values = true)]
    batch: usize,
    #[command(flatten)]
    unembedding: UnembeddingArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Writes the logit weights of all features.
pub fn run(arguments: &Arguments) -> Result<()> {
    let file = WholeFile::create_new(&arguments.out)?;
    let opened = open_sae(&arguments.sae)?;
    let weights = &*opened.weights;
    let Some(end) = arguments.unembedding.open(weights.config().d_in)? else {
        return Err(Error::Config("--unembed is needed: the file of the model's weights with the unembedding".into()));
    };
    let sae = SaeOrigin::of(&arguments.sae, &opened)?;
    let gpu = arguments.device.open()?;
    let count = arguments.unembedding.logit_tokens;
    write(&gpu, LogitFile { weights, origin: &sae, end: &end, count, batch: arguments.batch }, file)?;
    let features = weights.config().features;
    let out = arguments.out.to_string_lossy();
    tell(&format!("wrote the logit weights of {features} features to {}", out.escape_debug()));
    if output::json() {
        let mut line = origin::object([
            ("out", json!(out)),
            ("features", json!(features)),
            ("tokens", json!(count.min(end.unembedding.vocabulary()))),
            ("sae", sae.json()),
        ]);
        line.extend(end.metadata().into_iter().map(|(name, value)| (name.to_owned(), json!(value))));
        line.extend(origin::device_fields(&gpu));
        print_result("logits", Value::Object(line))?;
    }
    Ok(())
}

/// What a file of logit weights is of.
pub struct LogitFile<'a> {
    pub weights: &'a dyn Weights,
    pub origin: &'a SaeOrigin,
    pub end: &'a ModelEnd,
    /// Tokens at each end.
    pub count: usize,
    /// Features at a time.
    pub batch: usize,
}

/// Writes it.
pub fn write(gpu: &Gpu, of: LogitFile<'_>, file: WholeFile) -> Result<()> {
    let LogitFile { weights, origin, end, count, batch } = of;
    let mut metadata = origin::sae_metadata(weights, origin);
    metadata.extend([("format", FORMAT.0.to_owned()), ("format_version", FORMAT.1.to_owned())]);
    metadata.extend(end.metadata());
    let (unembedding, norm) = (&end.unembedding, end.norm.as_ref());
    LogitWeights { of: weights, unembedding, norm, count, batch }.write(gpu, file, &metadata)
}
