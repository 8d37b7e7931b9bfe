//! `monosem label`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use monosem::Result;
use monosem::features::labels::{export, import};
use monosem::storage::WholeFile;
use serde_json::{Value, json};

use super::arguments::count;
use super::origin;
use super::output::{self, print_result, tell};

/// Give a labeller, a program or a person, what features respond to, and take its labels
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = "Example:\n  monosem label export --features features --out prompts.jsonl")]
    Export(ExportArguments),
    #[command(after_help = "Example:\n  monosem label import --features features --labels labels.jsonl")]
    Import(ImportArguments),
}

/// Write a line of JSON for each feature with examples: its passages, with the tokens marked that it is active on, and
/// a prompt that asks for a label and for a rating of it, 0 to 3, on each passage
#[derive(Args, Debug)]
struct ExportArguments {
    /// Directory that `monosem features` wrote, with --tokenizer
    #[arg(long, value_name = "DIR")]
    features: PathBuf,
    /// File to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Passages of each interval of activations at most
    #[arg(long, default_value_t = 5, value_parser = count::<usize>, value_name = "N", allow_hyphen_values = true)]
    examples: usize,
}

/// Read labels, a line of JSON each with `feature`, `label` and, if known, `score` from 0 to 1 or `ratings` from 0 to
/// 3, and `source`, into a set of features: all or none
#[derive(Args, Debug)]
struct ImportArguments {
    /// Directory that `monosem features` wrote; labels of other features that it has stay
    #[arg(long, value_name = "DIR")]
    features: PathBuf,
    /// File of the labels
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Export(arguments) => run_export(arguments),
        Command::Import(arguments) => run_import(arguments),
    }
}

fn run_export(arguments: &ExportArguments) -> Result<()> {
    let file = WholeFile::create_new(&arguments.out)?;
    let exported = export(&arguments.features, arguments.examples, file)?;
    let (out, features) = (arguments.out.to_string_lossy(), arguments.features.to_string_lossy());
    let (written, without) = (exported.written, exported.without_examples);
    tell(&format!("wrote prompts for {written} features to {}; {without} have no example", out.escape_debug()));
    if output::json() {
        let line = origin::object([
            ("features", json!(features)),
            ("out", json!(out)),
            ("written", json!(written)),
            ("without_examples", json!(without)),
        ]);
        print_result("label export", Value::Object(line))?;
    }
    Ok(())
}

fn run_import(arguments: &ImportArguments) -> Result<()> {
    let imported = import(&arguments.features, &arguments.labels)?;
    let (given, replaced, kept) = (imported.given, imported.replaced, imported.kept);
    tell(&format!(
        "labels: {given} imported, {replaced} of them in place of earlier ones; {kept} of other features stay"
    ));
    if output::json() {
        let line = origin::object([
            ("features", json!(arguments.features.to_string_lossy())),
            ("labels", json!(arguments.labels.to_string_lossy())),
            ("imported", json!(given)),
            ("replaced", json!(replaced)),
            ("kept", json!(kept)),
        ]);
        print_result("label import", Value::Object(line))?;
    }
    Ok(())
}
