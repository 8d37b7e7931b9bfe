//! `monosem plot`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use monosem::run::{Curves, plot};
use monosem::storage::WholeFile;
use monosem::{Error, Result};
use serde_json::json;

use super::output::{self, print_result, tell};

/// Draw the loss, FVU, L0, dead features and densities of one or more runs, as SVG
#[derive(Args, Debug)]
pub struct Arguments {
    /// Directories of runs, finished or not
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// File to write; it is replaced if it exists [default: plot.svg in the run; needed for several runs]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Reads the runs and draws them.
pub fn run(arguments: &Arguments) -> Result<()> {
    let out = match (&arguments.out, &arguments.runs[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("plot.svg"),
        (None, _) => return Err(Error::Config("several runs need --out, the file to draw them in".into())),
    };
    let curves = arguments.runs.iter().map(|run| Curves::read(run)).collect::<Result<Vec<_>>>()?;
    let names: Vec<_> = arguments.runs.iter().map(|run| run.to_string_lossy()).collect();
    let named: Vec<plot::NamedRun<'_>> = names.iter().map(AsRef::as_ref).zip(&curves).collect();
    let picture = plot::svg(&named).map_err(|problem| Error::Config(format!("cannot be drawn: {problem}")))?;
    let mut file = WholeFile::create(&out)?;
    file.write_all(picture.as_bytes()).map_err(Error::io(&out))?;
    file.commit()?;
    let path = out.to_string_lossy();
    tell(&format!("wrote {}", path.escape_debug()));
    if output::json() {
        print_result("plot", json!({ "out": path, "runs": names }))?;
    }
    Ok(())
}
