//! What is known of where activations come from.

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
