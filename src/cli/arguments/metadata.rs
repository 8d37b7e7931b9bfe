//! Metadata of the finished SAE.

use std::num::NonZeroUsize;

use clap::Args;
use monosem::data::Provenance;
use serde::Serialize;

use super::number::{Choice, count, name, or_default};

#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Metadata of the SAE")]
pub struct MetadataArguments {
    /// Language model that produced the activations [default: from the data's metadata]
    #[arg(long, value_name = "NAME|default", value_parser = or_default(name))]
    model_name: Option<Choice<String>>,
    /// Hook point of the activations in the model [default: from the data's metadata]
    #[arg(long, value_name = "NAME|default", value_parser = or_default(name))]
    hook_name: Option<Choice<String>>,
    /// Tokens per context window [default: from the data's metadata]
    #[arg(
        long,
        value_name = "TOKENS|default",
        value_parser = or_default(count::<NonZeroUsize>),
        allow_hyphen_values = true
    )]
    context_size: Option<Choice<NonZeroUsize>>,
    /// Text data set that the model read [default: from the data's metadata]
    #[arg(long, value_name = "NAME|default", value_parser = or_default(name))]
    dataset_path: Option<Choice<String>>,
}

impl MetadataArguments {
    /// The metadata of the flags, and of the data where there is no flag.
    pub fn over(&self, data: &Provenance) -> Provenance {
        Provenance {
            model_name: self.model_name.clone().flatten().or_else(|| data.model_name.clone()),
            hook_name: self.hook_name.clone().flatten().or_else(|| data.hook_name.clone()),
            context_size: self.context_size.flatten().map(NonZeroUsize::get).or(data.context_size),
            dataset_path: self.dataset_path.clone().flatten().or_else(|| data.dataset_path.clone()),
        }
    }
}
