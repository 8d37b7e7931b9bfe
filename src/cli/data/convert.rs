//! `monosem data convert`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use monosem::Result;
use monosem::data::{Conversion, ConvertOptions, Dtype, write_converted};
#[cfg(feature = "arrow")]
use monosem::data::{StreamFilter, write_converted_stream};
use serde_json::{Value, json};

use super::progress::RowProgress;
use super::{FileArguments, counted_files, tell_notes};
use crate::cli::arguments::count;
use crate::cli::origin::data_json;
use crate::cli::output::{self, print_result, tell};
#[cfg(not(feature = "arrow"))]
use crate::cli::row_source::no_streams;
#[cfg(feature = "arrow")]
use crate::cli::row_source::open_stdin;

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
    /// Rows of each file but the last; a file of a stream is held in memory [default: those of 1 GiB]
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

impl Arguments {
    fn options(&self) -> ConvertOptions {
        let dtype = self.dtype.map(|dtype| match dtype {
            FloatType::F16 => Dtype::F16,
            FloatType::Bf16 => Dtype::BF16,
            FloatType::F32 => Dtype::F32,
        });
        ConvertOptions { dtype, shard_rows: self.shard_rows }
    }
}

/// Converts all rows.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.files.is_stream() {
        return convert_stream(arguments);
    }
    let data = arguments.files.open()?;
    let rows = data.rows();
    let mut progress = RowProgress::new("converted", rows, (data.width() * data.dtype().bytes()) as u64);
    let result = write_converted(&data, &arguments.out, &arguments.options(), |done| progress.show(done));
    drop(progress);
    report(arguments, &result?, data.width(), data_json(&data))
}

#[cfg(feature = "arrow")]
fn convert_stream(arguments: &Arguments) -> Result<()> {
    let stream = open_stdin(&arguments.files.tensor, StreamFilter::default())?;
    let mut progress = RowProgress::new("converted", None, (stream.width() * stream.dtype().bytes()) as u64);
    let result = write_converted_stream(&stream, &arguments.out, &arguments.options(), |done| progress.show(done));
    drop(progress);
    let result = result?;
    report(arguments, &result, stream.width(), json!([{ "path": "-", "rows": result.rows }]))
}

#[cfg(not(feature = "arrow"))]
fn convert_stream(_: &Arguments) -> Result<()> {
    Err(no_streams())
}

/// Says what was written, and of what.
fn report(arguments: &Arguments, result: &Conversion, width: usize, data: Value) -> Result<()> {
    let out = arguments.out.to_string_lossy();
    tell_notes(&result.notes);
    let &Conversion { rows, shards: files, dtype, .. } = result;
    tell(&format!("wrote {rows} rows of {dtype:?} in {} to {}", counted_files(files), out.escape_debug()));
    if output::json() {
        let line = json!({
            "out": out,
            "rows": rows,
            "d": width,
            "dtype": dtype,
            "files": files,
            "notes": result.notes,
            "data": data,
        });
        print_result("data convert", line)?;
    }
    Ok(())
}
