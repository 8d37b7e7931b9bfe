//! `monosem report`

use std::path::PathBuf;

use clap::Args;
use monosem::Result;
use monosem::features::report;
use monosem::units::readable_bytes;
use serde_json::json;

use super::output::{self, print_result, tell};

/// Write the pages that show what features respond to
#[derive(Args, Debug)]
pub struct Arguments {
    /// Directory that `monosem features` wrote
    #[arg(long, value_name = "DIR")]
    features: PathBuf,
    /// Directory to create, with all of the pages in it or not at all [default: `report` in that of --features]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes the pages, and prints where they are.
pub fn run(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.clone().unwrap_or_else(|| arguments.features.join("report"));
    let summary = report::write(&arguments.features, &out)?;
    let index = out.join("index.html");
    let index = index.to_string_lossy();
    tell(&format!(
        "saved {}: {} features, {} in {} files, {} of them loaded at first",
        index.escape_debug(),
        summary.features,
        readable_bytes(summary.bytes),
        summary.files,
        readable_bytes(summary.overview_bytes)
    ));
    if output::json() {
        let mut result = json!(summary);
        result["index"] = index.into();
        print_result("report", result)?;
    }
    Ok(())
}
