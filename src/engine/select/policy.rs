//! The method of a selection: which there are for an adapter and a size, and which is likely the fastest.

use std::fmt;

use super::chunks::{RowBlocks, SCRATCH_BYTES};
use crate::gpu::AdapterDescription;
use crate::kernels::{EncodeVariant, SCREEN_GROUP, ScreenVariant};
use crate::sae::SaeConfig;
use crate::sae::description::Keep;

/// A method that finds the entries of the main list. All methods give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectionMethod {
    /// A chunk of features at a time is encoded, and merged into what was kept so far.
    Chunked,
    /// Of each group of features only the largest key is kept, the k best groups of a row are found among those, and
    /// the keys of their features are computed once more: a feature outside them has k others before it, one in each
    /// group.
    Grouped {
        /// Features per group.
        group: u32,
    },
    /// The same with upper bounds of the keys, from f16. The groups with the largest bounds are scored in f32; a batch
    /// in which one of the others could hold a larger key than the k-th of those is selected chunk by chunk instead.
    Screened {
        /// The kernel that multiplies.
        variant: ScreenVariant,
        /// Groups per row that are scored: the more, the rarer that is not enough.
        groups: u32,
    },
}

/// The arithmetic that finds candidates; the result of the selection does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screening {
    /// f16 where matrix units make it faster.
    #[default]
    Auto,
    /// f32 always.
    F32,
    /// f16 always.
    F16,
}

impl fmt::Display for SelectionMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunked => write!(f, "chunked"),
            Self::Grouped { group } => write!(f, "grouped by {group}"),
            Self::Screened { variant, groups } => {
                write!(f, "screened in f16 by {variant}, {groups} groups of {SCREEN_GROUP}")
            }
        }
    }
}

/// A batch of rows and the SAE that encodes it.
#[derive(Clone, Copy, Debug)]
pub struct SelectionShape {
    /// Rows.
    pub rows: u64,
    /// Width of a row.
    pub d: u64,
    /// Features.
    pub features: u64,
    /// Active features per row.
    pub k: u64,
    /// Every row has as many; otherwise there is no method but by chunks.
    pub is_per_row: bool,
}

impl SelectionShape {
    /// The sizes of a selection from a batch of rows.
    pub fn new(config: &SaeConfig, rows: usize) -> Self {
        let [rows, d, features, k] = [rows, config.d_in, config.features, config.usual_l0()].map(|size| size as u64);
        let is_per_row = matches!(config.describe().lists[0].keep, Keep::PerRow { .. });
        Self { rows, d, features, k, is_per_row }
    }

    /// Groups per row that are scored after screening: a third more than random and real rows ever needed
    /// (docs/performance.md); the margin of sums grows with d.
    fn screened_groups(self) -> u64 {
        self.k + self.k * (1024 + self.d) / 4096 + 8
    }
}

impl SelectionMethod {
    /// Those whose scratch the adapter can bind for a block of rows, as `screening` has it; what is faster on nothing
    /// only if nothing else is asked for.
    pub fn available(
        adapter: &AdapterDescription,
        encode: EncodeVariant,
        screening: Screening,
        shape: SelectionShape,
    ) -> Vec<Self> {
        if !shape.is_per_row {
            return vec![Self::Chunked];
        }
        let fits = |groups: u64, group: u32| {
            4 * RowBlocks::least(shape.rows) * groups * u64::from(group) <= SCRATCH_BYTES.min(adapter.max_binding_bytes)
        };
        let group = encode.group();
        let grouped = fits(shape.k, group).then_some(Self::Grouped { group });
        let groups = shape.screened_groups();
        let screened = |variant| Self::Screened { variant, groups: groups as u32 };
        let variants = ScreenVariant::available(adapter).into_iter().filter(|_| fits(groups, SCREEN_GROUP));
        let (cooperative, portable): (Vec<_>, Vec<_>) = variants.partition(|variant| variant.is_cooperative());
        let in_f32 = [Self::Chunked].into_iter().chain(grouped);
        match screening {
            // Where the candidates of few rows do not fit a binding, nothing is screened.
            Screening::F16 if !portable.is_empty() => {
                let variants = if cooperative.is_empty() { portable } else { cooperative };
                variants.into_iter().map(screened).collect()
            }
            Screening::Auto if !adapter.takes_cpu_kernels() => {
                in_f32.chain(cooperative.into_iter().map(screened)).collect()
            }
            _ => in_f32.collect(),
        }
    }

    /// The one that is likely the fastest: screened where there are matrix units and features enough; grouped where the
    /// pre-activations that need not be written and looked at cost more than the keys that are computed twice
    /// (docs/selection.md).
    pub fn choose(adapter: &AdapterDescription, screening: Screening, shape: SelectionShape) -> Self {
        let SelectionShape { rows, d, features, k, .. } = shape;
        let encode = EncodeVariant::best(adapter);
        let available = Self::available(adapter, encode, screening, shape);
        let screened = available.iter().find(|method| matches!(method, Self::Screened { .. }));
        // Apple's GPUs multiply f16 no faster than f32.
        let pays =
            adapter.backend != "metal" && features > CANDIDATE_COST * shape.screened_groups() * u64::from(SCREEN_GROUP);
        if let Some(screened) = screened.filter(|_| pays || screening == Screening::F16) {
            return *screened;
        }
        let group = encode.group();
        let candidates = (k * u64::from(group)) as f64;
        let fits = available.contains(&Self::Grouped { group });
        // What is read of W_enc and x for a row, in rows; on GPUs rows of the batch share those of W_enc.
        let (rows_read, dimension_cost) = if adapter.takes_cpu_kernels() {
            (candidates, SOFTWARE_DIMENSION_COST)
        } else {
            (k as f64 + candidates.min(features as f64 / rows.max(1) as f64), GPU_DIMENSION_COST)
        };
        let saved = features as f64 * (1.0 - 1.0 / f64::from(group));
        let spent = rows_read * d as f64 * dimension_cost;
        if fits && saved > spent { Self::Grouped { group } } else { Self::Chunked }
    }
}

/// The cost of a dimension of a candidate, in pre-activations: measured on llvmpipe (benches/results/).
const SOFTWARE_DIMENSION_COST: f64 = 0.2;

/// The same of a row that is read: as many bytes as a pre-activation, at 0.5 of the bandwidth and not 0.7, and slices
/// that are waited for (benches/expected_model.py, not measured).
const GPU_DIMENSION_COST: f64 = 1.75;

/// The cost of a candidate, in keys that are screened, with which the steps that benches/expected_model.py expects take
/// least (not measured).
const CANDIDATE_COST: u64 = 14;
