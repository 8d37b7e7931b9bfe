//! The model, on the host alone: its configuration and description, its weights, and the file layouts it is read from
//! and written to.

mod architecture;
mod as_jump_relu;
mod auxk;
mod batch_topk;
mod density;
pub mod description;
mod directory;
mod examples;
mod folded;
mod gated;
mod gemma_scope;
mod input_normalization;
mod jumprelu;
mod matryoshka;
mod relu;
mod saelens;
mod sparsify;
mod stored;
mod topk;
mod weights;
mod with_config;

use serde::{Deserialize, Serialize};

use crate::data::Provenance;
use crate::error::{Error, Result};
use description::{Description, TensorSpec};

pub use architecture::Architecture;
pub use as_jump_relu::AsJumpRelu;
pub(crate) use as_jump_relu::as_trained;
pub use auxk::{AuxK, AuxKForm};
pub use batch_topk::BatchTopK;
pub use density::FeatureDensity;
pub use directory::{SaeFile, load, open, weights_file};
pub use folded::Folded;
pub use gated::Gated;
pub use input_normalization::{InputNormalization, RowNorm};
pub use jumprelu::{JumpRelu, PreActivation};
pub use matryoshka::Matryoshka;
pub use relu::Relu;
pub use saelens::{NewDirectory, save};
pub use topk::TopK;
pub(crate) use weights::for_each_tile_of;
pub use weights::{Weights, for_each_tile};
pub use with_config::WithConfig;

/// Sizes and architecture of a sparse autoencoder: all that defines it but its weights.
///
/// `u = W_enc (x - b_dec) + b_enc`; the architecture makes the active features' values `a` of it; `x^ = W_decᵀ a +
/// b_dec`. What is done to `x` first is undone in `x^`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SaeConfig {
    /// Width of an activation vector.
    pub d_in: usize,
    /// Number of features (dictionary size, `d_sae` in SAELens).
    pub features: usize,
    /// Subtracts `b_dec` from the input before encoding.
    pub apply_b_dec_to_input: bool,
    /// What is done to each row before that.
    #[serde(default, skip_serializing_if = "InputNormalization::is_none")]
    pub input_normalization: InputNormalization,
    /// Which features are active, and the loss.
    #[serde(flatten)]
    pub architecture: Architecture,
}

/// Between the 33 and 39 of Anthropic's April 2024 update and the 300 of "Scaling Monosemanticity".
const USUAL_L0: usize = 64;

/// Far above the width of any model, and far below where products of sizes no longer fit.
const MAX_D_IN: usize = 1 << 20;

impl SaeConfig {
    /// An SAE that takes rows as they are and subtracts `b_dec` from them.
    pub fn new(d_in: usize, features: usize, architecture: impl Into<Architecture>) -> Self {
        let (apply_b_dec_to_input, input_normalization) = (true, InputNormalization::None);
        Self { d_in, features, apply_b_dec_to_input, input_normalization, architecture: architecture.into() }
    }

    /// A TopK SAE with `k` active features per row.
    pub fn top_k(d_in: usize, features: usize, k: usize) -> Self {
        Self::new(d_in, features, TopK::new(k))
    }

    /// The description of its architecture.
    pub fn describe(&self) -> Description {
        self.architecture.describe(self)
    }

    /// Its parameters.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        self.describe().tensors
    }

    /// Active features per row, on average over a batch, where the architecture fixes that.
    pub fn k(&self) -> Option<usize> {
        self.architecture.k()
    }

    /// Active features per row that work is estimated by: k, or what is usual where the architecture fixes none.
    pub fn usual_l0(&self) -> usize {
        self.k().unwrap_or(USUAL_L0).min(self.features)
    }

    /// Checks that the sizes make an SAE.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is 0, `d_in` exceeds 2^20 or `features` 2^32 - 2, or the architecture or the
    /// normalisation does not fit them.
    pub fn validate(&self) -> Result<()> {
        let Self { d_in, features, .. } = *self;
        if d_in == 0 || features == 0 {
            return Err(Error::Config(format!(
                "an SAE needs at least one input and one feature, not d_in {d_in} and {features} features"
            )));
        }
        if d_in > MAX_D_IN {
            return Err(Error::Config(format!("rows of {d_in} values: at most 2^20 are computed with")));
        }
        if features >= u32::MAX as usize {
            return Err(Error::Config(format!("{features} features: at most 2^32 - 2 can be indexed")));
        }
        self.architecture.validate(self)?;
        self.input_normalization.validate(self)
    }
}

/// Checks the coefficient of a penalty, which `what` names.
fn validate_coefficient(what: &str, coefficient: f64) -> Result<()> {
    // The device computes in f32.
    if (coefficient as f32).is_finite() && coefficient >= 0.0 {
        return Ok(());
    }
    Err(Error::Config(format!("{what} is {coefficient}: it must be at least 0, and f32 must hold it")))
}

/// Zeros for `[rows, columns]`, or an error when this machine has no room for them.
fn zeros(rows: usize, columns: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    match rows.checked_mul(columns).map(|size| values.try_reserve_exact(size).map(|()| size)) {
        Some(Ok(size)) => {
            values.resize(size, 0.0);
            Ok(values)
        }
        _ => Err(Error::Config(format!(
            "{rows} rows of {columns} values do not fit the memory of this machine: take fewer features"
        ))),
    }
}

/// An SAE on the host. Matrices are feature-major: row `j` belongs to feature `j`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sae {
    /// Sizes and architecture.
    pub config: SaeConfig,
    /// The values of each of [`SaeConfig::tensors`], in their order.
    pub tensors: Vec<Vec<f32>>,
    /// Origin of the activations that it was trained on.
    pub provenance: Provenance,
}

impl Sae {
    /// The values of a tensor.
    ///
    /// # Panics
    /// If the architecture has none of that name.
    pub fn tensor(&self, name: &str) -> &[f32] {
        let at = self.config.tensors().iter().position(|tensor| tensor.name == name);
        &self.tensors[at.unwrap_or_else(|| panic!("no tensor {name}"))]
    }
}
