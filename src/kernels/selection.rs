//! The two ways to find the k largest keys of each row without holding all of them.

use std::fmt;

use super::{Encode, EncodeVariant, GroupMaxima, GroupMaximaArguments, Rescore, Select, Tuning, quads};
use crate::error::Result;
use crate::gpu::shaders::rescore;
use crate::gpu::{AdapterDescription, Gpu, Recording};
use crate::rng::{Purpose, Rng, symmetric};

/// How the k largest keys of a row are found. Both ways give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectionMethod {
    /// A chunk of features at a time is encoded, and merged into the k best so far.
    Chunked,
    /// Of each group of features only the largest key is kept, the k best groups of a row are found among those, and the
    /// keys of their features are computed once more: a feature outside them has k others before it, one in each group.
    Grouped {
        /// Features a group.
        group: u32,
    },
}

impl fmt::Display for SelectionMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunked => write!(f, "chunked"),
            Self::Grouped { group } => write!(f, "grouped by {group}"),
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
    /// Active features a row.
    pub k: u64,
}

/// The most bytes that a scratch buffer of a selection takes.
pub const SCRATCH_BYTES: u64 = 128 << 20;

impl SelectionMethod {
    /// Those whose scratch the adapter can bind.
    pub fn available(adapter: &AdapterDescription, encode: EncodeVariant, shape: SelectionShape) -> Vec<Self> {
        let group = encode.group();
        let candidate_bytes = 4 * shape.rows * shape.k * u64::from(group);
        let fits = candidate_bytes <= SCRATCH_BYTES.min(adapter.max_binding_bytes);
        [Self::Chunked].into_iter().chain(fits.then_some(Self::Grouped { group })).collect()
    }

    /// The one that is likely faster: grouped where the pre-activations that need not be written and looked at cost more
    /// than the keys that are computed twice (docs/architecture.md, selection).
    pub fn choose(adapter: &AdapterDescription, shape: SelectionShape) -> Self {
        let SelectionShape { d, features, k, .. } = shape;
        let encode = EncodeVariant::best(adapter);
        let group = encode.group();
        let candidates = k * u64::from(group);
        let fits = Self::available(adapter, encode, shape).contains(&Self::Grouped { group });
        // What a dimension of a second dot product costs, in pre-activations written and read.
        let dimension_cost = if adapter.is_software() { SOFTWARE_DIMENSION_COST } else { GPU_DIMENSION_COST };
        let saved = features as f64 * (1.0 - 1.0 / f64::from(group));
        let spent = (candidates * d) as f64 * dimension_cost;
        if fits && saved > spent { Self::Grouped { group } } else { Self::Chunked }
    }
}

/// Measured on llvmpipe (benches/results/).
const SOFTWARE_DIMENSION_COST: f64 = 0.2;

/// By traffic: 4 bytes of a weight against 8 of a pre-activation written and read.
const GPU_DIMENSION_COST: f64 = 0.5;

/// The kernels of a selection.
pub struct Selection {
    /// The k largest of a chunk and of those so far.
    pub select: Select,
    /// What comes before.
    pub way: SelectionKernels,
}

/// The kernels of one method.
pub enum SelectionKernels {
    /// Of [`SelectionMethod::Chunked`].
    Chunked(Encode),
    /// Of [`SelectionMethod::Grouped`].
    Grouped {
        /// Largest keys.
        maxima: GroupMaxima,
        /// Keys once more.
        rescore: Rescore,
        /// Features a group.
        group: u32,
    },
}

impl Selection {
    /// Compiles them. Where a driver computes the dot products of two kernels differently, so that a group's maximum is not
    /// its largest key, the chunked method takes the place of the grouped one.
    ///
    /// # Errors
    /// [`crate::Error::Shader`] naming the one that the device refuses.
    pub fn new(gpu: &Gpu, k: u32, tuning: Tuning) -> Result<Self> {
        let Tuning { encode: variant, method } = tuning;
        let select = Select::new(gpu, k)?;
        if let SelectionMethod::Grouped { group } = method {
            let (maxima, rescore) = (GroupMaxima::new(gpu, variant)?, Rescore::new(gpu)?);
            if gpu.is_on_paper() || maxima_are_keys(gpu, &maxima, &rescore, group)? {
                return Ok(Self { select, way: SelectionKernels::Grouped { maxima, rescore, group } });
            }
            tracing::warn!("group maxima are not exact on {}: selecting by chunks", gpu.description());
        }
        Ok(Self { select, way: SelectionKernels::Chunked(Encode::new(gpu, variant)?) })
    }

    /// The method that is used.
    pub fn method(&self) -> SelectionMethod {
        match self.way {
            SelectionKernels::Chunked(_) => SelectionMethod::Chunked,
            SelectionKernels::Grouped { group, .. } => SelectionMethod::Grouped { group },
        }
    }
}

/// Whether the maxima of random rows and weights are the largest of the same keys computed once more, bit for bit.
fn maxima_are_keys(gpu: &Gpu, maxima: &GroupMaxima, rescore: &Rescore, group: u32) -> Result<bool> {
    const ROWS: u32 = 33;
    const D: usize = 48;
    const GROUPS: u32 = 8;
    let quads = quads(D);
    let features = GROUPS * group;
    let rng = Rng::new(0, Purpose::Shuffle);
    let random = |stream: u32, count: u32| -> Vec<f32> {
        (0..u64::from(count)).map(|at| symmetric(rng.block(at, stream)[0])).collect()
    };
    let centred = gpu.buffer_from("probe", &random(0, ROWS * quads * 4))?;
    let w_enc = gpu.buffer_from("probe", &random(1, features * quads * 4))?;
    let b_enc = gpu.buffer_from("probe", &random(2, features))?;
    let norms = gpu.buffer_from("probe", &random(3, features))?;
    let numbers: Vec<u32> = (0..ROWS).flat_map(|_| 0..GROUPS).collect();
    let best_groups = gpu.buffer_from("probe", &numbers)?;
    let screened = gpu.buffer("probe", u64::from(ROWS * GROUPS))?;
    let candidates = || gpu.buffer("probe", u64::from(ROWS * features));
    let (candidate_values, candidate_keys) = (candidates()?, candidates()?);

    let mut recording = Recording::default();
    let arguments = GroupMaximaArguments {
        centred: &centred,
        w_enc: &w_enc,
        b_enc: &b_enc,
        norms: &norms,
        maxima: &screened,
        rows: ROWS,
        quads,
        first: 0,
        count: features,
        stride: GROUPS,
        scaled: true,
    };
    maxima.record(&mut recording, &arguments);
    let bindings = rescore::main::Bindings {
        centred: &centred,
        w_enc: &w_enc,
        b_enc: &b_enc,
        norms: &norms,
        best_groups: &best_groups,
        candidate_values: &candidate_values,
        candidate_keys: &candidate_keys,
        params: rescore::Params {
            rows: ROWS,
            quads,
            groups: GROUPS,
            group,
            first: 0,
            count: features,
            scaled: 1,
            k: GROUPS,
        },
    };
    rescore.record(&mut recording, bindings);
    gpu.submit(&gpu.program(recording)?)?;
    let (screened, keys): (Vec<f32>, Vec<f32>) = (gpu.read(&screened)?, gpu.read(&candidate_keys)?);
    let largest = keys.chunks_exact(group as usize).map(|keys| keys.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    Ok(screened.iter().zip(largest).all(|(maximum, largest)| maximum.to_bits() == largest.to_bits()))
}
