//! The needs of a training run, before any of it is allocated.

use std::collections::BTreeMap;

use crate::engine::parameters::BLOCK_FEATURES;
use crate::engine::recipe::Recipe;
use crate::engine::select::{Screening, SelectionMethod, Tuning};
use crate::engine::state::state_tensors;
use crate::error::{Error, Result};
use crate::gpu::{AdapterDescription, Gpu};
use crate::kernels::{SCREEN_GROUP, half_quads, quads};
use crate::sae::SaeConfig;
use crate::train::Trainer;
use crate::units::readable_bytes;

/// The bytes of a run and the work of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Device memory by part: exactly the buffers that a [`Trainer`] makes.
    pub device: BTreeMap<&'static str, u64>,
    /// Feature shards, each within the device's largest binding.
    pub shards: usize,
    /// The kernels that find the active features.
    pub tuning: Tuning,
    /// Host memory: batches on their way and tiles of weights; without the program and its driver.
    pub host: u64,
    /// A checkpoint on the disk.
    pub checkpoint: u64,
    /// The finished SAE on the disk.
    pub sae: u64,
    /// The least that each kernel of a step has to do.
    pub work: Vec<Work>,
}

/// A kernel's share of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The operation.
    pub kernel: &'static str,
    /// Floating-point operations, a multiply-add being two.
    pub flops: u64,
    /// Whether matrix units do them, whose rate is not measured.
    pub on_matrix_units: bool,
    /// Bytes that it must read and write if no cache helps it but for what all rows share.
    pub bytes: u64,
}

/// Parts that grow with the number of features.
const STATE: [&str; 2] = ["weights", "moments"];

impl Work {
    /// The work of an operation of a timed step, if it is counted.
    pub fn of<'a>(work: &'a [Self], operation: &str) -> Option<&'a Self> {
        // Each variant of these is a shader of its own.
        let name = match operation {
            name if name.starts_with("encode_") => "encode",
            name if name.starts_with("rescore_") => "rescore",
            name if name.starts_with("screen_") => "screen",
            name => name,
        };
        work.iter().find(|work| work.kernel == name)
    }
}

impl Plan {
    /// The plan of a run with the usual kernels on a device like this.
    ///
    /// # Errors
    /// Those of [`Trainer::new`] but [`Error::OutOfMemory`].
    pub fn new(
        description: &AdapterDescription,
        config: &SaeConfig,
        recipe: &Recipe,
        screening: Screening,
    ) -> Result<Self> {
        Self::of(description, config, recipe, Tuning::estimated(description, config, recipe.batch, screening))
    }

    /// As [`Plan::new`], with the kernels of the selection given.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn of(description: &AdapterDescription, config: &SaeConfig, recipe: &Recipe, tuning: Tuning) -> Result<Self> {
        let gpu = Gpu::dry_run(description.clone());
        // As long as it lives, its buffers are in the account.
        let trainer = Trainer::allocate(&gpu, config, recipe.clone(), tuning)?;
        let row = (config.d_in * 4) as u64;
        let values = config.tensors().into_iter().map(|tensor| tensor.shape(config));
        Ok(Self {
            device: gpu.memory(),
            shards: trainer.shards(),
            host: BATCHES_ON_THEIR_WAY * recipe.batch as u64 * row + TILES_BYTES,
            sae: values.map(|[rows, columns]| 4 * rows as u64 * columns as u64).sum(),
            checkpoint: state_tensors(config, recipe.moments)
                .iter()
                .map(|tensor| tensor.shape[0] as u64 * tensor.row_bytes())
                .sum(),
            work: work(config, recipe, tuning.method),
            tuning,
        })
    }

    /// Device memory of all parts.
    pub fn device_bytes(&self) -> u64 {
        self.device.values().sum()
    }

    /// Memory that must be there: the device's, and where that is this machine's the host's too.
    pub fn needed(&self, description: &AdapterDescription) -> u64 {
        self.device_bytes() + if description.is_on_cpu() { self.host } else { 0 }
    }

    /// Devices with so much memory each that a run would need that shares its features out among them; none if not even
    /// what every one of them needs would fit.
    pub fn devices_needed(&self, available: u64) -> Option<u64> {
        let state: u64 = STATE.iter().filter_map(|part| self.device.get(part)).sum();
        let room = available.checked_sub(self.device_bytes() - state).filter(|room| *room > 0)?;
        Some(state.div_ceil(room).max(1))
    }

    /// Floating-point operations of a step.
    pub fn flops(&self) -> u64 {
        self.work.iter().map(|work| work.flops).sum()
    }

    /// Bytes moved by a step.
    pub fn bytes_moved(&self) -> u64 {
        self.work.iter().map(|work| work.bytes).sum()
    }
}

/// Batches of the data threads, of the step, and of the uploads that wait for the device.
const BATCHES_ON_THEIR_WAY: u64 = 8;

/// Tiles of weights or of the state on their way.
const TILES_BYTES: u64 = 64 << 20;

/// The most features, a multiple of 1,024, of which a run needs no more than `available` bytes; 0 if there are none.
///
/// # Errors
/// As [`Plan::new`].
pub fn most_features(
    description: &AdapterDescription,
    config: &SaeConfig,
    recipe: &Recipe,
    screening: Screening,
    available: u64,
) -> Result<usize> {
    let fits = |blocks: usize| {
        let features = blocks * BLOCK_FEATURES as usize;
        let config = SaeConfig { features, ..config.clone() };
        if recipe.validate_for(&config).is_err() || config.validate().is_err() {
            return Ok(true);
        }
        match Plan::new(description, &config, recipe, screening) {
            Ok(plan) => Ok(plan.needed(description) <= available),
            Err(Error::BindingTooLarge { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let (mut fitting, mut too_many) = (0, (u32::MAX / BLOCK_FEATURES) as usize);
    // Weights and moments alone bound it.
    let block_bytes = matrix_bytes(config, recipe, BLOCK_FEATURES.into());
    too_many = too_many.min((available / block_bytes) as usize + 1);
    while too_many - fitting > 1 {
        let middle = fitting + (too_many - fitting) / 2;
        if fits(middle)? { fitting = middle } else { too_many = middle }
    }
    Ok(fitting * BLOCK_FEATURES as usize)
}

/// Bytes of the weights and moments of two matrices.
fn matrix_bytes(config: &SaeConfig, recipe: &Recipe, features: u64) -> u64 {
    features.saturating_mul((8 + 4 * recipe.moments.bytes()) * config.d_in as u64)
}

/// Fails if the device is known not to have the memory that a run needs.
///
/// # Errors
/// [`Error::Device`] that says how many features would fit, and those of [`Plan::new`].
pub fn check_fits(
    description: &AdapterDescription,
    config: &SaeConfig,
    recipe: &Recipe,
    screening: Screening,
) -> Result<()> {
    let Some(memory) = &description.memory else { return Ok(()) };
    let matrices = matrix_bytes(config, recipe, config.features as u64);
    // So many features that not even a plan can be made are refused for their matrices.
    let needed = match matrices > memory.available {
        true => matrices,
        false => Plan::new(description, config, recipe, screening)?.needed(description),
    };
    if needed <= memory.available {
        return Ok(());
    }
    let way_out = match most_features(description, config, recipe, screening, memory.available)? {
        0 => "make the batch smaller, or take another device".to_owned(),
        most => format!("take at most {most} features, a smaller batch, or another device"),
    };
    Err(Error::Device(format!(
        "{} features need {} and {} has {} ({}): {way_out}; monosem plan tells more",
        config.features,
        readable_bytes(needed),
        description.name,
        readable_bytes(memory.available),
        memory.source
    )))
}

/// The least that each operation of a step has to do.
pub fn work(config: &SaeConfig, recipe: &Recipe, selection: SelectionMethod) -> Vec<Work> {
    let [n, d, k, rows] = [config.features, config.d_in, config.usual_l0(), recipe.batch].map(|size| size as u64);
    let (matrix, field, entries) = (4 * n * d, 4 * rows * d, 4 * rows * k * d);
    let kernel = |kernel, flops, bytes| Work { kernel, flops, on_matrix_units: false, bytes };
    // Values that are left for selection, and features whose keys are computed once more.
    let (left, again) = match selection {
        SelectionMethod::Chunked => (rows * n, 0),
        SelectionMethod::Grouped { group } => (rows * n.div_ceil(group.into()), rows * k * u64::from(group)),
        SelectionMethod::Screened { groups, .. } => {
            let group = u64::from(SCREEN_GROUP);
            (rows * n.div_ceil(group), rows * n.div_ceil(group).min(groups.into()) * group)
        }
    };
    let product = 2 * rows * n * d;
    let keys = if let SelectionMethod::Screened { variant, groups } = selection {
        let scored = n.div_ceil(SCREEN_GROUP.into()).min(groups.into());
        let half_row = 8 * u64::from(half_quads(quads(config.d_in)));
        let halves = (n + rows) * half_row;
        vec![
            kernel("to_f16", 0, matrix + field + halves),
            Work { on_matrix_units: variant.is_cooperative(), ..kernel("screen", product, halves + 4 * left) },
            // One word of each entry, which are 16 bytes apart.
            kernel("check_bounds", 0, 16 * rows * (k + scored)),
        ]
    } else {
        vec![kernel("encode", product, matrix + field + 4 * left)]
    };
    let others = [
        kernel("center", rows * d, 2 * field),
        kernel("variance", 5 * rows * d, 2 * field),
        kernel("select", 0, 4 * left + 4 * again),
        // Rows that score the same features share them.
        kernel("rescore", 2 * again * d, 4 * again.min(n) * d),
        kernel("decode", 2 * rows * k * d, entries + field),
        kernel("residual", 8 * rows * d, 3 * field),
        kernel("count", 0, 16 * rows * k),
        // A pair is made from its entry, then read twice and written once per 8 bits of a feature's number.
        kernel("sort", 0, 24 * rows * k * (1 + u64::from(64 - n.leading_zeros()).div_ceil(8))),
        kernel("runs", 0, 16 * rows * k),
        kernel("slopes", 2 * rows * k * d, entries + field),
        kernel("summary", 0, 16 * rows * k),
        // And, both, a row of the active features, whose number is not known.
        kernel("squares", 4 * rows * k * d, 2 * entries),
        kernel("bias_gradient", rows * d, field),
        kernel("clip", 0, 4 * d),
        // Weights and two moments of two matrices are read and written; Adam takes about 12 operations per element.
        kernel("update", 4 * rows * k * d + 24 * n * d, 4 * matrix + 8 * n * d * recipe.moments.bytes() + 2 * entries),
        kernel("model", 12 * d, 28 * d),
        kernel("activity", 0, 12 * n),
    ];
    keys.into_iter().chain(others).collect()
}
