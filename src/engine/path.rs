//! The two ways to compute a step where the SAE decides how many features are active.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The way of a step. It follows from the batches alone: slabs from the first whose active entries do not fit their
/// list, until one has at most three quarters of what does; so no two steps in a row change it for a few entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepPath {
    /// The active entries are listed, and all that follows is sparse.
    #[default]
    Lists,
    /// Every feature of every row is computed, a chunk of features at a time ([`super::slab`]).
    Slabs,
}

impl StepPath {
    /// The most entries of a batch that are listed again.
    pub fn room(capacity: u32) -> u32 {
        (u64::from(capacity) * 3 / 4) as u32
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lists => "lists",
            Self::Slabs => "slabs",
        })
    }
}
