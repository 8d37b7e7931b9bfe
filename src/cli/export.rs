//! `monosem export`

use std::path::PathBuf;

use clap::Args;
use monosem::Result;
use monosem::sae::NewDirectory;
use serde_json::{Value, json};

use super::arguments::open_sae;
use super::origin::{self, SaeOrigin};
use super::output::{self, print_result, tell};

/// Write an SAE in SAELens's layout: cfg.json and sae_weights.safetensors
#[derive(Args, Debug)]
pub struct Arguments {
    /// SAE to export: a run (finished or not), a checkpoint, or a directory in the layout of SAELens, sparsify or Gemma
    /// Scope 2
    #[arg(long, value_name = "DIR")]
    sae: PathBuf,
    /// Directory to create, with all of the SAE in it or not at all; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Exports the SAE, and prints what it is.
pub fn run(arguments: &Arguments) -> Result<()> {
    let directory = NewDirectory::create(&arguments.out)?;
    let opened = open_sae(&arguments.sae)?;
    directory.save(&*opened.weights)?;
    let out = arguments.out.to_string_lossy();
    tell(&format!("saved {}", out.escape_debug()));
    if output::json() {
        let config = opened.weights.config();
        let sae = SaeOrigin::of(&arguments.sae, &opened)?;
        let line = origin::object([
            ("sae", sae.json()),
            ("out", json!(out)),
            ("d_in", json!(config.d_in)),
            ("features", json!(config.features)),
            ("k", json!(config.k())),
        ]);
        print_result("export", Value::Object(line))?;
    }
    Ok(())
}
