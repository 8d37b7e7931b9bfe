//! `monosem data convert`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use monosem::Result;
use monosem::data::{ConvertOptions, Dtype, write_converted};
use serde_json::json;

use super::progress::RowProgress;
use super::{FileArguments, counted_files, tell_notes};
use crate::cli::arguments::count;
use crate::cli::origin::data_json;
use crate::cli::output::{self, print_result, tell};

/// Write activations as a directory of safetensors files, rows in their order and columns beside them, in a type of
/// choice
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    /// Directory to write; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the values; they are rounded to nearest, ties to even, and one that is too large is an error
    /// [default: that of the files]
    #[arg(long, value_name = "f16|bf16|f32", hide_possible_values = true)]
    dtype: Option<FloatType>,
    /// Rows of each file but the last [default: those of 1 GiB]
    #[arg(long, value_name = "N", value_parser = count::<u64>, allow_hyphen_values = true)]
    shard_rows: Option<u64>,
}

/// A type that values can have.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FloatType {
    F16,
    Bf16,
    F32,
}

/// Converts all rows.
pub fn run(arguments: &Arguments) -> Result<()> {
    let data = arguments.files.open()?;
    let dtype = arguments.dtype.map(|dtype| match dtype {
        FloatType::F16 => Dtype::F16,
        FloatType::Bf16 => Dtype::BF16,
        FloatType::F32 => Dtype::F32,
    });
    let options = ConvertOptions { dtype, shard_rows: arguments.shard_rows };
    let rows = data.rows();
    let mut progress = RowProgress::new("converted", rows, (data.width() * data.dtype().bytes()) as u64);
    let result = write_converted(&data, &arguments.out, &options, |done| progress.show(done));
    drop(progress);
    let result = result?;
    let out = arguments.out.to_string_lossy();
    tell_notes(&result.notes);
    let (files, dtype) = (result.shards, result.dtype);
    tell(&format!("wrote {rows} rows of {dtype:?} in {} to {}", counted_files(files), out.escape_debug()));
    if output::json() {
        let line = json!({
            "out": out,
            "rows": rows,
            "d": data.width(),
            "dtype": dtype,
            "files": files,
            "notes": result.notes,
            "data": data_json(&data),
        });
        print_result("data convert", line)?;
    }
    Ok(())
}
