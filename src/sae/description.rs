//! An architecture as data: everything that trains, stores or plans an SAE loops over this, and matches on no
//! architecture.

use super::SaeConfig;

/// An architecture and its loss. How it is trained (Adam, schedules, the decoder rule, clipping) is the recipe's.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its parameters.
    pub tensors: Vec<TensorSpec>,
    /// The lists of entries that a batch makes: the main one, then perhaps one of dead features.
    pub lists: Vec<ListSpec>,
    /// Reconstructions from the lists.
    pub fields: Vec<FieldSpec>,
    /// The input of the encoder.
    pub input: Input,
    /// The scale of the keys that features are ranked by.
    pub key: KeyScale,
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
    /// Added to the product of encoder and input.
    EncoderBias,
    /// Added to the reconstruction.
    OutputBias,
}

impl TensorSpec {
    const fn new(name: &'static str, shape: Shape, role: Role) -> Self {
        Self { name, shape, role }
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

/// Which entries a list keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// The `k` of each row with the largest keys.
    PerRow {
        /// Entries per row.
        k: usize,
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

/// The arithmetic of a list's entries on the device: a file of `shaders/entry/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// `shaders/entry/topk.wgsl`.
    TopK,
}

/// A reconstruction, `[rows, d]`, and its part in the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSpec {
    /// The name of its loss.
    pub name: &'static str,
    /// The list that it is decoded from.
    pub list: usize,
    /// Its target.
    pub target: Target,
    /// The output bias is added to it, and learns from it.
    pub bias: bool,
    /// The weight of its squared error in the loss.
    pub weight: f64,
    /// A further factor, which depends on the batch.
    pub factor: Factor,
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
    FieldSpec { name: "mse", list: 0, target: Target::Input, bias: true, weight: 1.0, factor: Factor::One }
}

/// The input of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The activation less the output bias.
    Centred,
    /// The activation.
    AsItIs,
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

    /// The list of dead features, if there is one.
    pub fn dead(&self) -> Option<DeadList> {
        self.lists.iter().find_map(|list| match list.keep {
            Keep::Dead { most, raw, counted } => Some(DeadList { most, raw, counted }),
            Keep::PerRow { .. } => None,
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
