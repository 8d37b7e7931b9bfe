//! `monosem neuronpedia`

use std::path::PathBuf;

use clap::Args;
use monosem::Result;
use monosem::features::neuronpedia::{self, Destination};
use serde_json::json;

use super::arguments::count_or_zero;
use super::output::{self, print_result, tell};

/// Files of a directory that Neuronpedia's importer lists.
const LISTED: u64 = 1000;

/// Write a set of features as Neuronpedia imports it, with labels as explanations
#[derive(Args, Debug)]
pub struct Arguments {
    /// Directory that `monosem features` wrote, with --tokenizer
    #[arg(long, value_name = "DIR")]
    features: PathBuf,
    /// Directory to create, whole or not at all; the files are in MODEL/LAYER-SET below it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the set of sources, without the layer, as in res-16k
    #[arg(long, value_name = "NAME")]
    source_set: String,
    /// Id of a user that the server has, who will own it all
    #[arg(long, value_name = "ID")]
    creator_id: String,
    /// Name of the author
    #[arg(long, value_name = "NAME")]
    creator_name: String,
    /// The server's name of the model [default: that of the set, in lower case and without its author]
    #[arg(long, value_name = "NAME")]
    model_id: Option<String>,
    /// Layer that the SAE is of [default: that of the set's hook name, as in blocks.3 or layers.3]
    #[arg(long, value_name = "N", value_parser = count_or_zero::<u32>, allow_hyphen_values = true)]
    layer: Option<u32>,
    /// Name of the release that the set of sources belongs to [default: that of --source-set]
    #[arg(long, value_name = "NAME")]
    release: Option<String>,
    /// Title of the release and of the set of sources [default: features, architecture and hook name]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

/// Writes the directory, and says what is in it and what is not.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { features, out, source_set, creator_id, creator_name, model_id, layer, release, title } = arguments;
    let destination = Destination {
        model_id: model_id.clone(),
        layer: *layer,
        source_set: source_set.clone(),
        creator_id: creator_id.clone(),
        creator_name: creator_name.clone(),
        release: release.clone(),
        title: title.clone(),
    };
    let summary = neuronpedia::write(features, out, &destination)?;
    for missing in &summary.missing {
        tell(&format!("note: without {missing}"));
    }
    if summary.batches > LISTED {
        let batches = summary.batches;
        tell(&format!("note: Neuronpedia's importer lists {LISTED} files of a directory, and there are {batches}"));
    }
    tell(&format!(
        "wrote {} features ({} without examples), activations: {}, explanations: {}, to {}",
        summary.features,
        summary.without_examples,
        summary.activations,
        summary.explanations,
        out.join(&summary.source).to_string_lossy().escape_debug()
    ));
    if output::json() {
        let mut result = json!(summary);
        result["out"] = out.to_string_lossy().into();
        print_result("neuronpedia", result)?;
    }
    Ok(())
}
