//! Architectures: which features are active, and the loss.

use serde::{Deserialize, Serialize};

use super::description::Description;
use super::{SaeConfig, TopK};
use crate::error::Result;

/// The architectures, by SAELens's names: a file of this module each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "lowercase")]
pub enum Architecture {
    /// [`TopK`].
    TopK(TopK),
}

impl Architecture {
    pub(super) fn describe(&self, config: &SaeConfig) -> Description {
        match self {
            Self::TopK(topk) => topk.describe(config),
        }
    }

    pub(super) fn validate(&self, config: &SaeConfig) -> Result<()> {
        match self {
            Self::TopK(topk) => topk.validate(config),
        }
    }

    /// The same with `k` active features per row; none if there is no such number.
    pub(super) fn with_k(&self, k: usize) -> Option<Self> {
        match self {
            Self::TopK(topk) => Some(TopK { k, ..topk.clone() }.into()),
        }
    }

    pub(super) fn k(&self) -> usize {
        match self {
            Self::TopK(topk) => topk.k,
        }
    }
}

impl From<TopK> for Architecture {
    fn from(topk: TopK) -> Self {
        Self::TopK(topk)
    }
}
