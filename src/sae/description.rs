//! An architecture as data: everything that trains, stores or plans an SAE loops over this, and matches on no
//! architecture.

use serde::{Deserialize, Serialize};

use super::{InputNormalization, SaeConfig};

/// An architecture and its loss. How it is trained (Adam, schedules, the decoder rule, clipping) is the recipe's.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its parameters.
    pub tensors: Vec<TensorSpec>,
    /// The lists of entries that a batch makes: the main one, then perhaps one of dead features.
    pub lists: Vec<ListSpec>,
    /// Reconstructions from the lists.
    pub fields: Vec<FieldSpec>,
    /// What is done to rows first.
    pub normalization: InputNormalization,
    /// The input of the encoder.
    pub input: Input,
    /// The scale of the keys that features are ranked by.
    pub key: KeyScale,
    /// A part of the loss of which every pair of a row and a feature has a share, listed or not.
    pub closed_form: Option<ClosedForm>,
    /// Which features are active once it is trained.
    pub inference: Inference,
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// As SAELens calls it.
    pub name: &'static str,
    /// Its size.
    pub shape: Shape,
    /// Its part in the model, which decides its gradient and its place on the device.
    pub role: Role,
    /// What an update takes below 0 becomes 0, whatever its gradient says.
    pub non_negative: bool,
}

/// The size of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A row of `d_in` values per feature.
    FeatureRows,
    /// A value per feature.
    FeatureScalars,
    /// One row of `d_in` values.
    ModelRow,
}

/// The part of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Rows that the input is multiplied by.
    Encoder,
    /// Rows that the reconstruction is a sum of.
    Decoder,
    /// Added to the product of encoder and input. Its gradient is the sum of the entries' slopes.
    EncoderBias,
    /// A further scalar of a feature, which its entries' arithmetic reads: its gradient is the sum of so many an
    /// entry, the first, second or third of its own.
    Own(usize),
    /// Added to the reconstruction.
    OutputBias,
}

impl TensorSpec {
    const fn new(name: &'static str, shape: Shape, role: Role) -> Self {
        Self { name, shape, role, non_negative: false }
    }

    /// A scalar of each feature that its entries' arithmetic reads.
    pub(super) const fn own(number: usize, name: &'static str) -> Self {
        Self::new(name, Shape::FeatureScalars, Role::Own(number))
    }

    /// Rows, and values in each.
    pub fn shape(&self, config: &SaeConfig) -> [usize; 2] {
        match self.shape {
            Shape::FeatureRows => [config.features, config.d_in],
            Shape::FeatureScalars => [config.features, 1],
            Shape::ModelRow => [1, config.d_in],
        }
    }
}

/// The tensors of every architecture whose encoder is linear.
pub(super) fn linear() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("W_enc", Shape::FeatureRows, Role::Encoder),
        TensorSpec::new("b_enc", Shape::FeatureScalars, Role::EncoderBias),
        TensorSpec::new("W_dec", Shape::FeatureRows, Role::Decoder),
        TensorSpec::new("b_dec", Shape::ModelRow, Role::OutputBias),
    ]
}

/// A list of entries, each of a row and a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ListSpec {
    /// Which entries it keeps.
    pub keep: Keep,
    /// Their arithmetic.
    pub entry: EntryKind,
}

impl ListSpec {
    /// The `k` of each row, or `k` per row of a batch, rectified.
    pub(super) fn top(keep: Keep) -> Self {
        Self { keep, entry: EntryKind::TopK }
    }
}

/// Which entries a list keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// The `k` of each row with the largest keys.
    PerRow {
        /// Entries per row.
        k: usize,
    },
    /// Of a batch of `rows` rows the `per_row · rows` with the largest keys, those above 0.
    PerBatch {
        /// Entries per row, on average.
        per_row: usize,
    },
    /// Those that their arithmetic admits, however many a row has.
    Admitted {
        /// The most in a batch; what needs more is computed without a list.
        capacity: Option<u64>,
    },
    /// The dead features of each row with the largest keys.
    Dead {
        /// The most per row, if there are that many.
        most: usize,
        /// Values below 0 are kept as they are; otherwise they carry nothing.
        raw: bool,
        /// Which features are dead.
        counted: Counted,
    },
}

/// When a feature is counted as dead: once it has not fired for the recipe's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Before the batch (SAELens).
    Before,
    /// With the batch: what it makes fire is not dead (dictionary_learning).
    WithThisBatch,
}

/// The arithmetic of a list's entries on the device: a file of `shaders/entry/`, with its settings. `u` is the
/// pre-activation, `|v|` the norm of the feature's decoder row, `B` the rows of the batch, `s` the gradient of the
/// fields' losses with respect to the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EntryKind {
    /// `shaders/entry/topk.wgsl`: the value is `u`, where that is above 0.
    TopK,
    /// `shaders/entry/relu.wgsl`: the same, with a penalty of `sparsity / B · u` or, if it is `normed`, of
    /// `sparsity / B · u |v|`.
    Relu {
        /// The coefficient of the penalty.
        sparsity: f64,
        /// The penalty is weighted by the norms of the decoder rows.
        normed: bool,
    },
    /// `shaders/entry/jumprelu.wgsl`.
    JumpRelu(JumpReluEntry),
    /// `shaders/entry/gated.wgsl`: `u` has no bias here; where `h = u + b_gate` is above 0 it is the value of the
    /// second field, and `max(exp(r_mag) u + b_mag, 0)` that of the first; where both are, the feature is active. The
    /// penalty is `sparsity / B · h` or, if it
    /// is `normed`, `sparsity / B · h |v|`.
    Gated {
        /// The coefficient of the penalty.
        sparsity: f64,
        /// The penalty is weighted by the norms of the decoder rows.
        normed: bool,
    },
}

impl EntryKind {
    /// Vectors of sums that a term has besides what it adds to the matrices' gradients: (slope along the decoder row,
    /// pull on its norm, gradient of the first own scalar, penalty), (gradients of the second and third, loss of the
    /// closed form, -).
    pub fn extras(&self) -> u32 {
        match self {
            Self::TopK => 0,
            Self::Relu { .. } => 1,
            Self::JumpRelu(jumprelu) => 1 + u32::from(jumprelu.pre_activation),
            Self::Gated { .. } => 2,
        }
    }

    /// The coefficient of its penalty.
    pub fn sparsity(&self) -> Option<f64> {
        match *self {
            Self::TopK => None,
            Self::Relu { sparsity, .. } | Self::Gated { sparsity, .. } => Some(sparsity),
            Self::JumpRelu(JumpReluEntry { sparsity, .. }) => Some(sparsity),
        }
    }

    /// The name of its penalty, that of SAELens.
    pub fn penalty(&self) -> Option<&'static str> {
        match self {
            Self::TopK => None,
            Self::Relu { .. } | Self::Gated { .. } => Some("l1_loss"),
            Self::JumpRelu(_) => Some("l0_loss"),
        }
    }
}

/// Entries that are active where `u` exceeds their feature's threshold `t`, with the value `u`; training lists those
/// within half a bandwidth of it too, as they alone train it (`|u - t| < bandwidth / 2`).
///
/// There the gradient of `t` is estimated as `-(t s + c) / bandwidth`, where `c` is the gradient of the penalty with
/// respect to the number of the row's active features (0 for [`Penalty::Tanh`], whose gradient is part of `s`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JumpReluEntry {
    /// The penalty on active features.
    pub penalty: Penalty,
    /// Its coefficient.
    pub sparsity: f64,
    /// The width of the window about the threshold in which its gradient is estimated (a rectangle).
    pub bandwidth: f64,
    /// The estimate is the gradient of `u` too, with the opposite sign, beside the usual one of active entries.
    pub to_input: bool,
    /// The parameter is the threshold's logarithm, whose gradient is `t` times the threshold's.
    pub log: bool,
    /// The closed form is trained on what is listed, too: the entries are told apart by whether they reach `t`.
    pub pre_activation: bool,
}

/// A penalty on the active features of a row, which the loss has the mean of over the rows; `L0` is their number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "penalty", rename_all = "lowercase")]
pub enum Penalty {
    /// `L0` (Rajamanoharan et al. 2024, "Jumping Ahead").
    Step,
    /// `2 / target · (L0 - target)²`, of each row on its own (Gemma Scope 2, as SAELens has it). dictionary_learning's
    /// `(L0 / target - 1)²` is of the mean L0 of the batch, and is not this.
    Quadratic {
        /// The wanted number.
        target: f64,
    },
    /// `Σ tanh(scale · a |v|)` over the row's features (Anthropic, January 2025).
    Tanh {
        /// The factor of the value.
        scale: f64,
    },
}

/// A penalty on pre-activations below their threshold, `coefficient / B · Σ (t - u) |v|` over every row and every
/// feature `of` it with `u < t`: its gradient is known from the sum of all rows and what is listed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClosedForm {
    /// Its coefficient.
    pub coefficient: f64,
    /// The features that have it.
    pub of: Features,
}

/// Some features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Features {
    /// Those that were dead before the batch.
    Dead,
    /// All.
    All,
}

/// Which features are active in a trained SAE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inference {
    /// Those of the main list.
    Listed,
    /// Those whose key exceeds one threshold for all, the smallest key that training kept of late.
    Threshold,
}

/// A reconstruction, `[rows, d]`, and its part in the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSpec {
    /// The name of its loss.
    pub name: String,
    /// The list that it is decoded from.
    pub list: usize,
    /// What it is the sum of.
    pub value: Value,
    /// Only the features below this one are decoded (Matryoshka).
    pub below: Option<usize>,
    /// Its target.
    pub target: Target,
    /// The output bias is added to it, and learns from it.
    pub bias: bool,
    /// The encoder alone learns from it: the decoder and the output bias are constants to its loss.
    pub detached: bool,
    /// The weight of its squared error in the loss.
    pub weight: f64,
    /// A further factor, which depends on the batch.
    pub factor: Factor,
}

impl FieldSpec {
    /// Whether a feature has a part in it.
    pub fn decodes(&self, feature: usize) -> bool {
        self.below.is_none_or(|below| feature < below)
    }
}

/// The values of entries that a field is decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// What the SAE reports.
    Decoded,
    /// The second that gated entries have.
    Gate,
}

/// The target of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The input.
    Input,
    /// The input less another field.
    ErrorOf(usize),
}

/// A factor of a loss that depends on the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// None.
    One,
    /// The share of the wanted dead features that there are.
    ShareOfDead,
    /// The variance of the input over the batch, divided by that of the target.
    VarianceRatio,
}

/// The field of the main loss.
pub(super) fn reconstruction() -> FieldSpec {
    FieldSpec {
        name: "mse".into(),
        list: 0,
        value: Value::Decoded,
        below: None,
        target: Target::Input,
        bias: true,
        detached: false,
        weight: 1.0,
        factor: Factor::One,
    }
}

/// The input of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The activation less the output bias.
    Centred,
    /// The activation.
    AsItIs,
}

impl Input {
    /// Of an SAE.
    pub(super) fn of(config: &SaeConfig) -> Self {
        if config.apply_b_dec_to_input { Self::Centred } else { Self::AsItIs }
    }
}

/// The factor of a pre-activation before features are ranked and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScale {
    /// Nothing.
    One,
    /// The norm of the feature's decoder row.
    DecoderNorm,
}

impl Description {
    /// The tensor of a role, of which each architecture has one.
    ///
    /// # Panics
    /// If it has none: descriptions are the crate's own.
    pub fn tensor(&self, role: Role) -> TensorSpec {
        let found = self.tensors.iter().find(|tensor| tensor.role == role);
        *found.unwrap_or_else(|| panic!("a description without {role:?}"))
    }

    /// The same, but its main list keeps `k` entries per row, of each or on average, if it keeps a fixed number.
    pub fn with_k(mut self, k: usize) -> Self {
        match &mut self.lists[0].keep {
            Keep::PerRow { k: per_row } | Keep::PerBatch { per_row } => *per_row = k,
            Keep::Admitted { .. } | Keep::Dead { .. } => {}
        }
        self
    }

    /// The fields of the main list that learn to reconstruct the input, from the narrowest to that of all features.
    pub fn levels(&self) -> impl Iterator<Item = &FieldSpec> {
        self.fields.iter().filter(|field| field.list == 0 && field.value == Value::Decoded)
    }

    /// The second field of the main list, that of its gate, if there is one.
    pub fn gate(&self) -> Option<&FieldSpec> {
        self.fields.iter().find(|field| field.value == Value::Gate)
    }

    /// Whether terms have a part in the gradient of a second field: that of the dead features or of the gate.
    pub fn has_second_gradient(&self) -> bool {
        self.lists.len() > 1 || self.gate().is_some()
    }

    /// The most vectors of sums that a term of any list has ([`EntryKind::extras`]).
    pub fn extras(&self) -> u32 {
        self.lists.iter().map(|list| list.entry.extras()).max().unwrap_or(0)
    }

    /// The list of dead features, if there is one.
    pub fn dead(&self) -> Option<DeadList> {
        self.lists.iter().find_map(|list| match list.keep {
            Keep::Dead { most, raw, counted } => Some(DeadList { most, raw, counted }),
            Keep::PerRow { .. } | Keep::PerBatch { .. } | Keep::Admitted { .. } => None,
        })
    }
}

/// The fields of [`Keep::Dead`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadList {
    /// The most entries per row.
    pub most: usize,
    /// Values below 0 are kept as they are; otherwise they carry nothing.
    pub raw: bool,
    /// Which features are dead.
    pub counted: Counted,
}
