//! `monosem data info`

use std::path::Path;

use clap::Args;
#[cfg(feature = "arrow")]
use monosem::data::StreamFilter;
use monosem::data::{Activations, DataDescription, DataStatistics, DataSurvey, OutlierRow};
use monosem::units::readable_bytes;
use monosem::{Error, Result};
use serde_json::{Value, json};

use super::FileArguments;
use super::progress::RowProgress;
use crate::cli::origin::data_json;
use crate::cli::output::{self, print, print_result, readable, tell};
#[cfg(not(feature = "arrow"))]
use crate::cli::row_source::no_streams;
#[cfg(feature = "arrow")]
use crate::cli::row_source::open_stdin;

/// Lines of a list for people at most; `--json` has all.
const MOST_LISTED: usize = 20;

/// Print what a set of activations is like: norms, mean and variance, what stands out, columns, metadata
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    /// Keep the statistics beside the data, for later commands: statistics.json in the one directory given, or
    /// FILE.statistics.json beside the one file
    #[arg(long)]
    write: bool,
}

/// Reads all rows once.
pub fn run(arguments: &Arguments) -> Result<()> {
    let paths = &arguments.files.paths;
    if arguments.files.is_stream() {
        return survey_stream(arguments);
    }
    if arguments.write && paths.len() > 1 {
        return Err(Error::Config("--write keeps the statistics of one directory or one file: give only one".into()));
    }
    let data = arguments.files.open()?;
    let description = DataDescription::of(&data)?;
    let row_bytes = (data.width() * data.dtype().bytes()) as u64;
    let mut progress = RowProgress::new("read", data.rows(), row_bytes);
    let survey = DataSurvey::of(&data, |done| progress.show(done));
    drop(progress);
    let survey = survey?;
    Set { rows: data.rows(), width: data.width(), files: Some(&data) }.print(&description, &survey)?;
    if arguments.write {
        let path = survey.statistics.write_beside(&paths[0], &data)?;
        tell(&format!("wrote {}", path.to_string_lossy().escape_debug()));
    }
    Ok(())
}

#[cfg(feature = "arrow")]
fn survey_stream(arguments: &Arguments) -> Result<()> {
    if arguments.write {
        return Err(Error::Config("--write keeps the statistics beside files, and a stream has no place".into()));
    }
    let stream = open_stdin(&arguments.files.tensor, StreamFilter::default())?;
    let mut progress = RowProgress::new("read", None, (stream.width() * stream.dtype().bytes()) as u64);
    let survey = DataSurvey::of_stream(&stream, |done| progress.show(done));
    drop(progress);
    let (survey, bytes) = survey?;
    let rows = survey.statistics.rows + survey.statistics.non_finite_rows;
    let description = DataDescription::of_stream(&stream, bytes);
    Set { rows, width: stream.width(), files: None }.print(&description, &survey)
}

#[cfg(not(feature = "arrow"))]
fn survey_stream(_: &Arguments) -> Result<()> {
    Err(no_streams())
}

/// What was read.
struct Set<'a> {
    rows: u64,
    width: usize,
    /// None of a stream.
    files: Option<&'a Activations>,
}

impl Set<'_> {
    fn print(&self, description: &DataDescription, survey: &DataSurvey) -> Result<()> {
        match output::json() {
            true => print_result("data info", to_json(self, description, survey)),
            false => print_table(self, description, survey),
        }
    }

    /// The file of a row, and its number there.
    fn place_of(&self, row: u64) -> Option<(&Path, u64)> {
        self.files.map_or(Some((Path::new("-"), row)), |data| data.place_of(row))
    }

    fn data_json(&self) -> Value {
        self.files.map_or_else(|| json!([{ "path": "-", "rows": self.rows }]), data_json)
    }
}

/// The share of a quantile as its name: `p0.1`, `p50`.
fn quantile_name(share: f64) -> String {
    format!("p{}", (share * 1000.0).round() / 10.0)
}

/// Names and values of the statistics.
fn measures(survey: &DataSurvey) -> Vec<(String, Value)> {
    let statistics = &survey.statistics;
    let DataStatistics { mean, mean_norm, mean_squared_norm, variance, non_finite_rows, .. } = statistics;
    let norm_of_mean = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
    let mut measures = vec![("norm_mean".to_owned(), json!(mean_norm)), ("norm_min".into(), json!(survey.min_norm))];
    let quantiles = survey.norm_quantiles.iter();
    measures.extend(quantiles.map(|&(share, norm)| (format!("norm_{}", quantile_name(share)), json!(norm))));
    let rest = [
        ("norm_max", json!(survey.max_norm)),
        ("norm_squared_mean", json!(mean_squared_norm)),
        ("norm_of_mean", json!(norm_of_mean)),
        ("variance", json!(variance)),
        ("gamma", json!(statistics.gamma())),
        ("outlier_rows", json!(survey.outlier_rows)),
        ("outlier_dimensions", json!(survey.outlier_dimensions)),
        ("non_finite_rows", json!(non_finite_rows)),
    ];
    measures.extend(rest.map(|(name, value)| (name.to_owned(), value)));
    measures
}

fn to_json(set: &Set<'_>, description: &DataDescription, survey: &DataSurvey) -> Value {
    let place = |row: u64| set.place_of(row).map(|(path, row)| json!({ "path": path.to_string_lossy(), "row": row }));
    let mut object = json!({
        "rows": set.rows,
        "d": set.width,
        "files": description.files,
        "bytes": description.bytes,
        "dtypes": description
            .dtypes
            .iter()
            .map(|(dtype, files)| json!({ "dtype": dtype, "files": files }))
            .collect::<Value>(),
        "shuffled": is_shuffled(description),
        "first_non_finite": survey.first_non_finite.and_then(place),
        "metadata": description.metadata,
        "differing_metadata": description.differing_metadata,
        "data": set.data_json(),
    });
    for (name, value) in measures(survey) {
        object[name] = value;
    }
    let row = |outlier: &OutlierRow| {
        let mut object = place(outlier.row).unwrap_or_default();
        (object["norm"], object["token_id"]) = (json!(outlier.norm), json!(outlier.token));
        object
    };
    object["largest_rows"] = survey.largest_rows.iter().map(row).collect();
    let dimensions = survey.largest_dimensions.iter();
    object["largest_dimensions"] =
        dimensions.map(|of| json!({ "dimension": of.dimension, "mean": of.mean, "rms": of.rms })).collect();
    let columns = description.columns.iter();
    object["columns"] = columns
        .map(|column| {
            json!({ "name": column.name, "dtype": column.type_name, "shape": column.shape, "files": column.files })
        })
        .collect();
    let duplicates = description.duplicates.iter();
    object["duplicate_files"] = duplicates
        .map(|(path, first)| json!({ "path": path.to_string_lossy(), "same_as": first.to_string_lossy() }))
        .collect();
    object
}

fn is_shuffled(description: &DataDescription) -> bool {
    description.metadata.get("shuffled").is_some_and(|shuffled| shuffled == "true")
}

fn print_table(set: &Set<'_>, description: &DataDescription, survey: &DataSurvey) -> Result<()> {
    let dtypes: Vec<String> = match &description.dtypes[..] {
        [(dtype, _)] => vec![format!("{dtype:?}")],
        dtypes => dtypes.iter().map(|(dtype, files)| format!("{dtype:?} ({files} files)")).collect(),
    };
    let line = |name: &str, value: &str| print(&format!("{name:22}  {value:>12}"));
    line("files", &description.files.to_string())?;
    line("rows", &set.rows.to_string())?;
    line("d", &set.width.to_string())?;
    line("dtype", &dtypes.join(", "))?;
    line("bytes", &readable_bytes(description.bytes))?;
    line("shuffled", if is_shuffled(description) { "yes" } else { "no" })?;
    for (name, value) in measures(survey) {
        line(&name, &readable(&value))?;
    }
    let place = |row: u64| match set.place_of(row) {
        Some((path, row)) => format!("row {row} of {}", path.to_string_lossy().escape_debug()),
        None => String::new(),
    };
    if let Some(row) = survey.first_non_finite {
        print(&format!("\nfirst row that is not finite: {}", place(row)))?;
    }
    section("largest rows", survey.largest_rows.iter(), |row| {
        let token = row.token.map(|token| format!(", token {token}")).unwrap_or_default();
        format!("norm {}{token}, {}", readable(&json!(row.norm)), place(row.row))
    })?;
    section("largest dimensions", survey.largest_dimensions.iter(), |of| {
        format!("{}: rms {}, mean {}", of.dimension, readable(&json!(of.rms)), readable(&json!(of.mean)))
    })?;
    section("columns", description.columns.iter(), |column| {
        let files = match column.files {
            files if files == description.files => String::new(),
            files => format!(" in {files} of {} files", description.files),
        };
        let (name, type_name) = (column.name.escape_debug(), column.type_name.escape_debug());
        format!("{name} {type_name} {}{files}", column.shape)
    })?;
    section("metadata", description.metadata.iter(), |(key, value)| {
        let value: String = value.chars().take(160).collect();
        format!("{} = {}", key.escape_debug(), value.escape_debug())
    })?;
    section("metadata that differs between files", description.differing_metadata.iter(), |key| {
        key.escape_debug().to_string()
    })?;
    section("files of the same content", description.duplicates.iter(), |(path, first)| {
        format!("{} as {}", path.to_string_lossy().escape_debug(), first.to_string_lossy().escape_debug())
    })
}

/// Prints lines under a head, if there are any.
fn section<T>(head: &str, items: impl ExactSizeIterator<Item = T>, line: impl Fn(T) -> String) -> Result<()> {
    if items.len() == 0 {
        return Ok(());
    }
    print(&format!("\n{head}"))?;
    let more = items.len().saturating_sub(MOST_LISTED);
    for item in items.take(MOST_LISTED) {
        print(&format!("  {}", line(item)))?;
    }
    if more > 0 { print(&format!("  and {more} more")) } else { Ok(()) }
}
