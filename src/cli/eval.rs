//! `monosem eval`

use std::fs;
use std::path::Path;

use clap::Args;
use monosem::apply::{Evaluation, Evaluator, Reconstruction, blame_row};
use monosem::data::{Batches, FilteredRows, Sources};
use monosem::gpu::Gpu;
use monosem::run::OpenedSae;
use monosem::sae::{Weights, WithConfig};
use monosem::train::DEAD_WINDOW;
use monosem::{Error, Result};
use serde_json::{Map, Value, json};

use super::arguments::{Application, ApplyArguments, Choice, RowArguments, count, unless};
use super::density::{density_json, print_density};
use super::origin::{self, SaeOrigin};
use super::output::{self, print, print_result, readable, tell};

/// Measure how well an SAE reconstructs activations, over all rows and per source
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    apply: ApplyArguments,
    #[command(flatten)]
    rows: RowArguments,
    /// Measure FVU with K active features per token as well, in another pass over the rows for each K [default: half
    /// and twice the SAE's own K, where it has one]
    #[arg(
        long,
        value_name = "K,..|none",
        value_delimiter = ',',
        value_parser = unless(&["none"], count::<usize>),
        allow_hyphen_values = true
    )]
    at_k: Vec<Choice<usize>>,
}

/// Evaluates on every row that is not excluded.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Application { sae, data, batch } = arguments.apply.open()?;
    let others = arguments.with_other_k(&*sae.weights)?;
    let mut sources = known_sources(Sources::open(data.clone()))?;
    let rows = arguments.rows.select(data)?;
    let gpu = arguments.apply.device.open()?;
    let result = arguments.evaluate(&gpu, &*sae.weights, &rows, batch, &mut sources)?;
    let mut at_k = Vec::new();
    for (k, weights) in &others {
        match arguments.evaluate(&gpu, weights, &rows, batch, &mut None) {
            Ok(result) => at_k.push((*k, result.all.fvu)),
            // What was measured is not lost for it.
            Err(error @ Error::OutOfMemory { .. }) => tell(&format!("note: FVU is not measured at k {k}: {error}")),
            Err(error) => return Err(error),
        }
    }
    let (all, exclusion) = (&result.all, rows.exclusion());
    let fields = [
        ("tokens", json!(all.tokens)),
        ("rows_excluded_by_token", json!(exclusion.rows_excluded_by_token)),
        ("rows_excluded_by_norm", json!(exclusion.rows_excluded_by_norm)),
        ("rows_excluded_not_finite", json!(exclusion.rows_excluded_not_finite)),
        ("fvu", json!(all.fvu)),
        ("explained_variance", json!(1.0 - all.fvu)),
        ("mse", json!(all.mse)),
        ("mse_per_dim", json!(all.mse_per_dim)),
        ("l0", json!(all.l0)),
        ("cosine", json!(all.cosine)),
        ("relative_reconstruction_bias", json!(all.relative_reconstruction_bias)),
        ("unfired_fraction", json!(result.unfired_fraction)),
        ("dead_fraction", json!(dead_fraction(&arguments.apply.sae, &sae))),
    ];
    let sources = sources.map(|sources| measures_by_source(&sources, &result));
    if output::json() {
        let mut line = origin::object(fields);
        line.extend(origin::object([
            ("fvu_at_k", at_k.iter().map(|(k, fvu)| (k.to_string(), json!(fvu))).collect::<Map<_, _>>().into()),
            ("density", density_json(&result.density)),
            ("sae", SaeOrigin::of(&arguments.apply.sae, &sae)?.json()),
            ("data", origin::data_json(rows.data())),
        ]));
        line.extend(origin::device_fields(&gpu));
        if let Some(sources) = sources {
            let sources = sources.into_iter().map(|(name, measures)| (name, Value::Object(origin::object(measures))));
            line.insert("sources".into(), Value::Object(sources.collect()));
        }
        return print_result("eval", Value::Object(line));
    }
    let at_k = at_k.iter().map(|(k, fvu)| (format!("fvu at k {k}"), json!(fvu)));
    for (name, value) in fields.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(at_k) {
        print(&format!("{name:28}  {:>12}", readable(&value)))?;
    }
    sources.map_or(Ok(()), |sources| print_table(&sources))?;
    print_density(&result.density)
}

impl Arguments {
    /// The SAE with the other numbers of active features that it is to be measured at.
    fn with_other_k<'a>(&self, weights: &'a dyn Weights) -> Result<Vec<(usize, WithConfig<'a>)>> {
        let with = |k: usize| Some((k, WithConfig::with_k(weights, k)?));
        if self.at_k.is_empty() {
            let Some(k) = weights.config().k() else { return Ok(Vec::new()) };
            return Ok([k / 2, k.saturating_mul(2)].into_iter().filter_map(with).collect());
        }
        if self.at_k.len() > 1 && self.at_k.contains(&None) {
            return Err(Error::Config("--at-k: between commas there are numbers, not `none`".into()));
        }
        let given = self.at_k.iter().flatten().map(|&k| {
            with(k).ok_or_else(|| {
                let features = weights.config().features;
                Error::Config(format!(
                    "--at-k {k}: this SAE of {features} features cannot have {k} of them active per token; give at most \
                     as many as it has, or --at-k none if its kind has no fixed number"
                ))
            })
        });
        given.collect()
    }

    /// One pass over the rows. Sources that cannot be used are given up.
    fn evaluate(
        &self,
        gpu: &Gpu,
        weights: &dyn Weights,
        rows: &FilteredRows,
        batch: usize,
        sources: &mut Option<Sources>,
    ) -> Result<Evaluation> {
        let tuning = self.apply.tuning(gpu, weights.config(), batch);
        let mut evaluator = Evaluator::with_tuning(gpu, weights, batch, tuning)?;
        for batch in Batches::in_order(rows.clone(), batch)? {
            let batch = batch?;
            let groups = match sources {
                Some(sources) => known_sources(sources.of(&batch.numbers).map(Some))?,
                None => None,
            };
            if groups.is_none() {
                *sources = None;
            }
            let added = evaluator.add(&batch, |row| groups.as_ref().and_then(|groups| groups[row]));
            added.map_err(|error| blame_row(error, rows, evaluator.finished()))?;
        }
        evaluator.settle().map_err(|error| blame_row(error, rows, evaluator.finished()))?;
        evaluator.finish()
    }
}

/// What is known of sources: nothing where they cannot be used, with a note, because all else can be measured.
fn known_sources<T>(found: Result<Option<T>>) -> Result<Option<T>> {
    match found {
        Err(error @ Error::Data { .. }) => {
            tell(&format!("note: nothing is measured by source: {error}"));
            Ok(None)
        }
        found => found,
    }
}

/// The names and values of what is measured of a source.
type Measures = [(&'static str, Value); 6];

fn measures_by_source(sources: &Sources, result: &Evaluation) -> Vec<(String, Measures)> {
    let measures = |of: &Reconstruction| {
        [
            ("tokens", json!(of.tokens)),
            ("fvu", json!(of.fvu)),
            ("explained_variance", json!(1.0 - of.fvu)),
            ("mse", json!(of.mse)),
            ("l0", json!(of.l0)),
            ("cosine", json!(of.cosine)),
        ]
    };
    result.groups.iter().map(|(&source, of)| (sources.name(source), measures(of))).collect()
}

fn print_table(sources: &[(String, Measures)]) -> Result<()> {
    let Some((_, measures)) = sources.first() else { return Ok(()) };
    let heads: Vec<&str> = measures.iter().map(|(name, _)| *name).collect();
    let mut lines = vec![("source".to_owned(), heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>())];
    for (name, measures) in sources {
        lines.push((name.escape_debug().to_string(), measures.iter().map(|(_, value)| readable(value)).collect()));
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    print("")?;
    for (name, cells) in lines {
        let cells: String =
            heads.iter().zip(cells).map(|(head, cell)| format!("  {cell:>0$}", head.len().max(12))).collect();
        print(&format!("{name:width$}{cells}"))?;
    }
    Ok(())
}

/// The fraction of the features that were dead after the run's last step, or the checkpoint's, if the run had seen
/// enough tokens to tell.
fn dead_fraction(path: &Path, sae: &OpenedSae) -> Option<f64> {
    let features = sae.weights.config().features;
    let run = match &sae.checkpoint {
        None => path,
        // RUN/checkpoints/step-N
        Some(checkpoint) => checkpoint.path.parent()?.parent()?,
    };
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).ok()?;
    let last: Value = match &sae.checkpoint {
        None => serde_json::from_str(metrics.lines().next_back()?).ok()?,
        Some(checkpoint) => {
            // The run may have gone further, and have been killed while it wrote a line.
            let mut lines = metrics.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["step"].as_u64().is_some_and(|step| step <= checkpoint.step))?
        }
    };
    let (dead, tokens) = (last["dead"].as_u64()?, last["tokens"].as_u64()?);
    (tokens >= dead_window(run) && dead <= features as u64).then(|| dead as f64 / features as f64)
}

/// The window of dead features of the run in a directory.
fn dead_window(run: &Path) -> u64 {
    let config = fs::read_to_string(run.join("config.toml")).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let window = config.as_ref().and_then(|config| config.get("dead-window")?.as_integer());
    window.and_then(|window| u64::try_from(window).ok()).unwrap_or(DEAD_WINDOW)
}
