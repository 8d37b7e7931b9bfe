//! Architectures: which features are active, and the loss.

use serde::{Deserialize, Serialize};

use super::description::Description;
use super::{BatchTopK, Gated, JumpRelu, Matryoshka, Relu, SaeConfig, TopK};
use crate::error::Result;

/// The architectures: a file of this module each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "lowercase")]
pub enum Architecture {
    /// [`TopK`].
    TopK(TopK),
    /// [`BatchTopK`].
    BatchTopK(BatchTopK),
    /// [`Matryoshka`].
    Matryoshka(Matryoshka),
    /// [`Relu`].
    Relu(Relu),
    /// [`JumpRelu`].
    JumpRelu(JumpRelu),
    /// [`Gated`].
    Gated(Gated),
}

impl Architecture {
    pub(super) fn describe(&self, config: &SaeConfig) -> Description {
        match self {
            Self::TopK(topk) => topk.describe(config),
            Self::BatchTopK(batch_topk) => batch_topk.describe(config),
            Self::Matryoshka(matryoshka) => matryoshka.describe(config),
            Self::Relu(relu) => relu.describe(config),
            Self::JumpRelu(jumprelu) => jumprelu.describe(config),
            Self::Gated(gated) => gated.describe(config),
        }
    }

    pub(super) fn validate(&self, config: &SaeConfig) -> Result<()> {
        match self {
            Self::TopK(topk) => topk.validate(config),
            Self::BatchTopK(batch_topk) => batch_topk.validate(config),
            Self::Matryoshka(matryoshka) => matryoshka.validate(config),
            Self::Relu(relu) => relu.validate(),
            Self::JumpRelu(jumprelu) => jumprelu.validate(),
            Self::Gated(gated) => gated.validate(),
        }
    }

    /// The same with `k` active features per row; none if there is no such number.
    pub(super) fn with_k(&self, k: usize) -> Option<Self> {
        match self {
            Self::TopK(topk) => Some(TopK { k, ..topk.clone() }.into()),
            // These are applied with a threshold.
            Self::BatchTopK(_) | Self::Matryoshka(_) | Self::Relu(_) | Self::JumpRelu(_) | Self::Gated(_) => None,
        }
    }

    pub(super) fn k(&self) -> Option<usize> {
        match self {
            Self::TopK(TopK { k, .. })
            | Self::BatchTopK(BatchTopK { k, .. })
            | Self::Matryoshka(Matryoshka { k, .. }) => Some(*k),
            Self::Relu(_) | Self::JumpRelu(_) | Self::Gated(_) => None,
        }
    }
}

impl From<TopK> for Architecture {
    fn from(topk: TopK) -> Self {
        Self::TopK(topk)
    }
}

impl From<BatchTopK> for Architecture {
    fn from(batch_topk: BatchTopK) -> Self {
        Self::BatchTopK(batch_topk)
    }
}

impl From<Matryoshka> for Architecture {
    fn from(matryoshka: Matryoshka) -> Self {
        Self::Matryoshka(matryoshka)
    }
}

impl From<Relu> for Architecture {
    fn from(relu: Relu) -> Self {
        Self::Relu(relu)
    }
}

impl From<JumpRelu> for Architecture {
    fn from(jumprelu: JumpRelu) -> Self {
        Self::JumpRelu(jumprelu)
    }
}

impl From<Gated> for Architecture {
    fn from(gated: Gated) -> Self {
        Self::Gated(gated)
    }
}
