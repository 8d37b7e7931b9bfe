//! `monosem export`

use std::path::PathBuf;

use clap::Args;
use monosem::{Result, sae};
use serde_json::json;

use super::arguments::open_sae;
use super::output::{self, print, tell};

/// Write an SAE in SAELens's layout: cfg.json and sae_weights.safetensors
#[derive(Args, Debug)]
pub struct Arguments {
    /// SAE to export: a run (finished or not), a checkpoint, or a directory in SAELens's layout
    #[arg(long, value_name = "DIR")]
    sae: PathBuf,
    /// Directory to create, with all of the SAE in it or not at all; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Exports the SAE, and prints what it is.
pub fn run(arguments: &Arguments) -> Result<()> {
    let opened = open_sae(&arguments.sae)?;
    sae::save(&*opened.weights, &arguments.out)?;
    let out = arguments.out.to_string_lossy();
    tell(&format!("saved {}", out.escape_debug()));
    if output::json() {
        let config = opened.weights.config();
        let result = json!({
            "sae": arguments.sae.to_string_lossy(),
            "out": out,
            "step": opened.checkpoint.map(|checkpoint| checkpoint.step),
            "d_in": config.d_in,
            "features": config.features,
            "k": config.k(),
        });
        print(&result.to_string())?;
    }
    Ok(())
}
