//! `monosem data shuffle`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use monosem::Result;
use monosem::data::{ShuffleEnd, ShuffleOptions, ShuffleProgress, write_shuffled};
use serde_json::json;

use super::progress::RowProgress;
use super::{FileArguments, counted_files, tell_notes};
use crate::cli::arguments::{Size, count_or_zero};
use crate::cli::origin::data_json;
use crate::cli::output::{self, print_result, tell};
use crate::cli::signals::Signals;
use crate::cli::stderr::start_line;

/// Write all rows in a random order, with their columns, as a directory of safetensors files
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    /// Directory to write; it must not exist. The disk needs room for all rows once more
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of the order: the same rows under the same seed get the same order
    #[arg(long, default_value_t = 0, value_parser = count_or_zero::<u64>, allow_hyphen_values = true)]
    seed: u64,
    /// Memory to use; half of it holds a file of the result, which has as many rows as fit
    #[arg(long, default_value = "1GiB", value_name = "SIZE")]
    memory: Size,
}

/// Shuffles, or continues an interrupted shuffle.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    let data = arguments.files.open()?;
    let options = ShuffleOptions { seed: arguments.seed, memory: arguments.memory.bytes };
    let (out, rows) = (arguments.out.to_string_lossy(), data.rows());
    let row_bytes = (data.width() * data.dtype().bytes()) as u64;
    let mut shown: Option<(u8, RowProgress)> = None;
    let end = write_shuffled(&data, &arguments.out, &options, |ShuffleProgress { pass, rows: done }| {
        if shown.is_none() && (pass, done) != (1, 0) {
            tell(&format!("continuing a shuffle: pass {pass} of 2, {done} of {rows} rows"));
        }
        if shown.as_ref().is_none_or(|(shown, _)| *shown != pass) {
            shown = None;
            let what = if pass == 1 { "pass 1 of 2: read" } else { "pass 2 of 2: wrote" };
            shown = Some((pass, RowProgress::new(what, rows, row_bytes)));
        }
        shown.iter_mut().for_each(|(_, progress)| progress.show(done));
        !signals.received()
    });
    drop(shown);
    let end = end?;
    let mut line = json!({
        "out": out,
        "rows": rows,
        "d": data.width(),
        "seed": options.seed,
        "memory": options.memory,
        "data": data_json(&data),
    });
    let code = match end {
        ShuffleEnd::Done(result) => {
            tell_notes(&result.notes);
            tell(&format!("wrote {rows} rows in {} to {}", counted_files(result.shards), out.escape_debug()));
            line["state"] = "done".into();
            line["files"] = result.shards.into();
            line["checksum"] = result.checksum.into();
            line["notes"] = result.notes.into();
            ExitCode::SUCCESS
        }
        ShuffleEnd::Interrupted => {
            start_line();
            tell("interrupted: the same command continues");
            line["state"] = "interrupted".into();
            line["exit_code"] = signals.exit_code().into();
            signals.exit_code().into()
        }
    };
    if output::json() {
        print_result("data shuffle", line)?;
    }
    Ok(code)
}
