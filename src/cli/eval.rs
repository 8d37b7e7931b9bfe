//! `monosem eval`

use std::fs;
use std::path::Path;

use clap::Args;
use monosem::apply::{Evaluation, Evaluator, Reconstruction, blame_row};
use monosem::data::{Batches, Sources};
use monosem::run::OpenedSae;
use monosem::train::DEAD_WINDOW;
use monosem::{Error, Result};
use serde_json::{Value, json};

use super::arguments::{Application, ApplyArguments, RowArguments};
use super::origin::{self, SaeOrigin};
use super::output::{self, print, print_result, readable, tell};

/// Measure how well an SAE reconstructs activations, over all rows and per source
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    apply: ApplyArguments,
    #[command(flatten)]
    rows: RowArguments,
}

/// Evaluates on every row that is not excluded.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Application { sae, data, batch } = arguments.apply.open()?;
    let config = sae.weights.config();
    let mut sources = known_sources(Sources::open(data.clone()))?;
    let rows = arguments.rows.select(data)?;
    let gpu = arguments.apply.device.open()?;
    let tuning = arguments.apply.tuning(&gpu, config, batch);
    let mut evaluator = Evaluator::with_tuning(&gpu, &*sae.weights, batch, tuning)?;
    for batch in Batches::in_order(rows.clone(), batch)? {
        let batch = batch?;
        let groups = match &sources {
            Some(sources) => known_sources(sources.of(&batch.numbers).map(Some))?,
            None => None,
        };
        sources = sources.filter(|_| groups.is_some());
        let added = evaluator.add(&batch, |row| groups.as_ref().and_then(|groups| groups[row]));
        added.map_err(|error| blame_row(error, &rows, evaluator.finished()))?;
    }
    evaluator.settle().map_err(|error| blame_row(error, &rows, evaluator.finished()))?;
    let result = evaluator.finish()?;
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
        ("unfired_fraction", json!(result.unfired_fraction)),
        ("dead_fraction", json!(dead_fraction(&arguments.apply.sae, &sae))),
    ];
    let sources = sources.map(|sources| measures_by_source(&sources, &result));
    if output::json() {
        let mut line = origin::object(fields);
        line.extend(origin::object([
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
    for (name, value) in fields {
        print(&format!("{name:24}  {:>12}", readable(&value)))?;
    }
    sources.map_or(Ok(()), |sources| print_table(&sources))
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
