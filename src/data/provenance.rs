//! What is known of where activations come from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where the activations came from, as SAELens's metadata names it; each absent if unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The language model's name on the hub.
    pub model_name: Option<String>,
    /// The point in the model that the activations were taken from.
    pub hook_name: Option<String>,
    /// Tokens per window.
    pub context_size: Option<usize>,
    /// The text that the model read.
    pub dataset_path: Option<String>,
}

impl Provenance {
    /// What the metadata of the file `path` say; a context size that is no number is ignored, with a warning.
    pub(super) fn of(path: &Path, metadata: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| metadata.get(key).cloned();
        let context_size = metadata.get("context_size").and_then(|size| {
            let number = size.trim().parse().ok();
            if number.is_none() {
                log::warn!("{path:?}: context_size {size:?} is ignored: it is not a number");
            }
            number
        });
        Self {
            model_name: text("model_name"),
            hook_name: text("hook_name"),
            context_size,
            dataset_path: text("dataset_path"),
        }
    }
}
