//! `monosem features`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use monosem::Result;
use monosem::apply::Encoder;
use monosem::data::FilteredRows;
use monosem::features::neighbors::Neighbors;
use monosem::features::{
    DecoderParts, ExampleCounts, FeatureJob, FeatureOptions, FeatureProgress, FeatureSummary, FeatureWork,
    NewFeatureSet, Vocabulary, write_features,
};
use monosem::gpu::Gpu;
use monosem::sae::Weights;
use monosem::storage::WholeFile;
use serde_json::{Value, json};

use super::arguments::{
    Application, ApplyArguments, ModelEnd, RowArguments, Size, UnembeddingArguments, count, count_or_zero,
};
use super::codes_file::architecture;
use super::data::RowProgress;
use super::logits::{self, LogitFile};
use super::neighbors;
use super::origin::{self, SaeOrigin};
use super::output::{self, print_result, tell};
use super::signals::Signals;
use super::stderr::start_line;

/// Write what each feature responds to: statistics over all rows, the largest activations and samples of smaller ones
/// in their contexts, and tokens
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    apply: ApplyArguments,
    #[command(flatten)]
    rows: RowArguments,
    /// Directory to write; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The model's tokenizer.json, for the text of tokens [default: none, ids alone]
    #[cfg(feature = "text")]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Examples of each interval at most
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = count::<usize>, allow_hyphen_values = true)]
    examples: usize,
    /// Intervals: the largest activations, and N - 1 equal parts of the range from 0 to the maximum
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = count::<usize>, allow_hyphen_values = true)]
    intervals: usize,
    /// Tokens before each example at most
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = count_or_zero::<usize>, allow_hyphen_values = true)]
    before: usize,
    /// Tokens behind each example at most
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = count_or_zero::<usize>, allow_hyphen_values = true)]
    after: usize,
    /// Seed of the random examples
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Leave out the input dimension that each feature correlates with best, which takes 4 bytes per feature and
    /// dimension
    #[arg(long)]
    no_best_dimension: bool,
    /// Host memory for what is kept of features, as in 32GiB; what does not fit takes several passes over the rows
    #[arg(long, default_value = "8GiB", value_name = "SIZE")]
    memory: Size,
    /// Nearest features of each feature by decoder cosine, over all pairs; 0 for none
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = count_or_zero::<usize>, allow_hyphen_values = true)]
    neighbors: usize,
    #[command(flatten)]
    unembedding: UnembeddingArguments,
}

/// Describes all features. The directory is begun first, so that no work ends at a path that cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    let set = NewFeatureSet::create(&arguments.out)?;
    let Application { sae, data, batch } = arguments.apply.open()?;
    let vocabulary = arguments.vocabulary()?;
    let rows = arguments.rows.select(data)?;
    let origin = SaeOrigin::of(&arguments.apply.sae, &sae)?;
    let weights = &*sae.weights;
    let model_end = arguments.unembedding.open(weights.config().d_in)?;
    let gpu = arguments.apply.device.open()?;
    let decoder = Decoder { gpu: &gpu, weights, origin: &origin, batch };
    let of_decoder = signals.deadly_while(|| decoder.write(set.path(), arguments, model_end.as_ref()))?;
    let tuning = arguments.apply.tuning(&gpu, weights.config(), batch);
    let mut encoder = Encoder::with_tuning(&gpu, weights, batch, tuning)?;
    let job = FeatureJob {
        weights,
        rows: &rows,
        vocabulary: vocabulary.as_ref(),
        batch,
        options: arguments.options(),
        about: [describe_sae(&origin, weights, &rows), origin::data_json(rows.data())],
        of_decoder,
    };
    let mut display = Display::new(rows.data().width() * rows.data().dtype().bytes());
    let summary = write_features(&job, &mut encoder, set, |progress| {
        display.show(progress);
        !signals.received()
    });
    drop(display);
    let Some(summary) = summary? else {
        start_line();
        tell("interrupted: nothing was written");
        return Ok(signals.exit_code().into());
    };
    report(arguments, &origin, &rows, &gpu, &summary)?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    #[cfg(feature = "text")]
    fn vocabulary(&self) -> Result<Option<Vocabulary>> {
        self.tokenizer.as_deref().map(Vocabulary::read).transpose()
    }

    #[cfg(not(feature = "text"))]
    fn vocabulary(&self) -> Result<Option<Vocabulary>> {
        Ok(None)
    }

    fn options(&self) -> FeatureOptions {
        FeatureOptions {
            counts: ExampleCounts { per_interval: self.examples, intervals: self.intervals },
            before: self.before,
            after: self.after,
            seed: self.seed,
            best_dimension: !self.no_best_dimension,
            memory: self.memory.bytes,
        }
    }
}

/// What the decoder alone says of features.
struct Decoder<'a> {
    gpu: &'a Gpu,
    weights: &'a dyn Weights,
    origin: &'a SaeOrigin,
    batch: usize,
}

impl Decoder<'_> {
    /// Writes the neighbours and logit weights that are asked for into the directory.
    fn write(&self, directory: &Path, arguments: &Arguments, end: Option<&ModelEnd>) -> Result<DecoderParts> {
        let Self { gpu, weights, origin, batch } = *self;
        // A single feature has none.
        let neighbors = arguments.neighbors > 0 && weights.config().features > 1;
        if neighbors {
            let file = WholeFile::create_new(&directory.join("neighbors.safetensors"))?;
            let metadata = neighbors::metadata(weights, origin);
            Neighbors::new(weights, None, arguments.neighbors, batch)?.write(gpu, file, &metadata)?;
        }
        if let Some(end) = end {
            let file = WholeFile::create_new(&directory.join("logits.safetensors"))?;
            let count = arguments.unembedding.logit_tokens;
            logits::write(gpu, LogitFile { weights, origin, end, count, batch }, file)?;
        }
        Ok(DecoderParts { neighbors, logits: end.is_some() })
    }
}

/// What the directory says of the SAE.
fn describe_sae(origin: &SaeOrigin, weights: &dyn Weights, rows: &FilteredRows) -> Value {
    let (config, of_sae, of_data) = (weights.config(), weights.provenance(), rows.data().provenance());
    let mut said = origin.json();
    said["architecture"] = architecture(config).into();
    said["d_in"] = config.d_in.into();
    said["features"] = config.features.into();
    said["k"] = config.k().into();
    said["model_name"] = json!(of_data.model_name.as_ref().or(of_sae.model_name.as_ref()));
    said["hook_name"] = json!(of_data.hook_name.as_ref().or(of_sae.hook_name.as_ref()));
    said
}

fn report(
    arguments: &Arguments,
    origin: &SaeOrigin,
    rows: &FilteredRows,
    gpu: &Gpu,
    FeatureSummary { alive, examples, passes, description }: &FeatureSummary,
) -> Result<()> {
    let out = arguments.out.to_string_lossy();
    for lacking in &description.lacking {
        tell(&format!("note: without {lacking}"));
    }
    let features = &description.sae["features"];
    let (tokens, shown) = (description.tokens, out.escape_debug());
    tell(&format!("wrote {examples} examples of {alive} of {features} features, from {tokens} rows, to {shown}"));
    if output::json() {
        let mut line = origin::object([
            ("out", json!(out)),
            ("tokens", json!(tokens)),
            ("features", features.clone()),
            ("alive", json!(alive)),
            ("examples", json!(examples)),
            ("passes", json!(passes)),
            ("has", json!(description.has)),
            ("missing", json!(description.missing)),
            ("sae", origin.json()),
            ("data", origin::data_json(rows.data())),
        ]);
        line.extend(origin::device_fields(gpu));
        print_result("features", Value::Object(line))?;
    }
    Ok(())
}

/// Shows how far the work is.
struct Display {
    row_bytes: u64,
    shown: Option<(FeatureWork, RowProgress)>,
}

impl Display {
    fn new(row_bytes: usize) -> Self {
        Self { row_bytes: row_bytes as u64, shown: None }
    }

    fn show(&mut self, FeatureProgress { work, rows, of, .. }: FeatureProgress) {
        if self.shown.as_ref().is_none_or(|(shown, _)| *shown != work) {
            self.shown = None;
            let what = match work {
                FeatureWork::Counting => "counted",
                FeatureWork::Contexts => "contexts: encoded",
            };
            self.shown = Some((work, RowProgress::new(what, of, self.row_bytes)));
        }
        self.shown.iter_mut().for_each(|(_, progress)| progress.show(rows));
    }
}
