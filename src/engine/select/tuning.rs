//! The kernels that find the codes of a run.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Screening, SelectionMethod, SelectionShape};
use crate::gpu::AdapterDescription;
use crate::kernels::EncodeVariant;
use crate::sae::SaeConfig;

/// The kernels that find the codes. No result depends on it, only time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tuning {
    /// The variant that computes pre-activations.
    #[serde(serialize_with = "by_name")]
    pub encode: EncodeVariant,
    /// The method that finds the largest of them.
    #[serde(rename = "selection", serialize_with = "by_name")]
    pub method: SelectionMethod,
}

fn by_name<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Tuning {
    /// A method with the usual shape of `encode`.
    pub fn usual(adapter: &AdapterDescription, method: SelectionMethod) -> Self {
        Self { encode: EncodeVariant::best(adapter), method }
    }

    /// The kernels for an SAE and a batch of rows where nothing was measured.
    pub fn estimated(adapter: &AdapterDescription, config: &SaeConfig, rows: usize, screening: Screening) -> Self {
        Self::usual(adapter, SelectionMethod::choose(adapter, screening, SelectionShape::new(config, rows)))
    }

    /// The one whose parts have these names, if the adapter can run it.
    pub fn named(
        adapter: &AdapterDescription,
        screening: Screening,
        shape: SelectionShape,
        [encode, method]: [&str; 2],
    ) -> Option<Self> {
        let encode = EncodeVariant::available(adapter).into_iter().find(|variant| variant.to_string() == encode)?;
        let mut methods = SelectionMethod::available(adapter, encode, screening, shape).into_iter();
        Some(Self { encode, method: methods.find(|known| known.to_string() == method)? })
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.encode, self.method)
    }
}
