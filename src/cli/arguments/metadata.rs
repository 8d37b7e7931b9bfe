//! Metadata of the finished SAE.

use std::num::NonZeroUsize;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use monosem::data::Provenance;
use serde::{Deserialize, Serialize};

#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Metadata of the SAE")]
pub struct MetadataArguments {
    /// Language model that produced the activations [default: from the data's metadata]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    model_name: Option<String>,
    /// Hook point of the activations in the model [default: from the data's metadata]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    hook_name: Option<String>,
    /// Tokens per context window [default: from the data's metadata]
    #[arg(long, value_name = "TOKENS")]
    context_size: Option<NonZeroUsize>,
    /// Text data set that the model read [default: from the data's metadata]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    dataset_path: Option<String>,
}

impl MetadataArguments {
    /// The metadata of the flags, and of the data where there is no flag.
    pub fn over(&self, data: &Provenance) -> Provenance {
        Provenance {
            model_name: self.model_name.clone().or_else(|| data.model_name.clone()),
            hook_name: self.hook_name.clone().or_else(|| data.hook_name.clone()),
            context_size: self.context_size.map(NonZeroUsize::get).or(data.context_size),
            dataset_path: self.dataset_path.clone().or_else(|| data.dataset_path.clone()),
        }
    }
}
