//! `monosem encode`

use std::path::PathBuf;

use clap::Args;
use monosem::Result;
use monosem::apply::{Encoder, blame_row};
use monosem::data::{Batches, FilteredRows, RowLabels};
use monosem::storage::WholeFile;
use serde_json::{Value, json};

use super::arguments::{Application, ApplyArguments};
use super::codes_file::{About, CodesFile};
use super::origin::{self, SaeOrigin};
use super::output::{self, print_result, tell};

/// Write the codes of every row to a safetensors file: `indices` i32 [rows, k], ascending, and `values` f32 [rows, k];
/// or, without a fixed k, both [entries], and `offsets` i64 [rows + 1], where each row's begin
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    apply: ApplyArguments,
    /// File to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Encodes every row. The file is begun first, so that no work ends at a path that cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let file = WholeFile::create_new(&arguments.out)?;
    let Application { sae, data, batch } = arguments.apply.open()?;
    let weights = &*sae.weights;
    let gpu = arguments.apply.device.open()?;
    let tuning = arguments.apply.tuning(&gpu, weights.config(), batch);
    let mut encoder = Encoder::with_tuning(&gpu, weights, batch, tuning)?;
    let labels = RowLabels::of(&data);
    for name in &labels.partial {
        tell(&format!(
            "note: `{name}` is not carried along: not every file has it as [rows] integers of one type and meaning"
        ));
    }
    let sae = SaeOrigin::of(&arguments.apply.sae, &sae)?;
    let k = encoder.entries_per_row();
    let mut codes = CodesFile::create(file, About { weights, origin: &sae, data: &data, labels: &labels, k })?;
    let rows = FilteredRows::from(data.clone());
    for batch in Batches::in_order(rows.clone(), batch)? {
        let written = match encoder.submit(&batch?.rows) {
            Ok(Some(finished)) => codes.write(&finished),
            other => other.map(drop),
        };
        written.map_err(|error| blame_row(error, &rows, codes.rows()))?;
    }
    while let Some(finished) = encoder.next_finished().map_err(|error| blame_row(error, &rows, codes.rows()))? {
        codes.write(&finished).map_err(|error| blame_row(error, &rows, codes.rows()))?;
    }
    let entries = codes.entries();
    codes.finish()?;
    tell(&format!("wrote {} rows to {}", data.rows(), arguments.out.to_string_lossy().escape_debug()));
    if output::json() {
        let mut line = origin::object([
            ("out", json!(arguments.out.to_string_lossy())),
            ("rows", json!(data.rows())),
            ("k", json!(k)),
            ("entries", json!(entries)),
            ("sae", sae.json()),
            ("data", origin::data_json(&data)),
        ]);
        line.extend(origin::device_fields(&gpu));
        print_result("encode", Value::Object(line))?;
    }
    Ok(())
}
