//! Data for kernels, on the host and on the device, where every byte that a kernel must not touch is watched.

use std::ops::Deref;

use bytemuck::{AnyBitPattern, NoUninit, Pod};

use crate::error::{Error, Result};
use crate::gpu::{Buffer, Gpu, Recording, Slot};
use crate::kernels::{BLOCK_FEATURES, quads};
use crate::reference;
use crate::rng::{Purpose, Rng, symmetric};
use crate::sae::pad_rows;

/// What fills outputs before a kernel runs and the margins of all buffers always: NaN as f32, out of reach as an index.
pub const POISON: u32 = u32::MAX;

/// Words of margin behind a tensor: more than a workgroup that ignores its bounds would write.
const MARGIN: usize = 1024;

/// The guard at rest.
pub const AT_REST: [u32; 2] = [0, 0];

/// A buffer with a poisoned margin behind its words.
pub struct Tensor<'g> {
    gpu: &'g Gpu,
    buffer: Buffer,
    words: usize,
}

impl<'g> Tensor<'g> {
    /// A tensor that holds `values`.
    pub fn new<T: Pod>(gpu: &'g Gpu, values: &[T]) -> Result<Self> {
        let mut words: Vec<u32> = bytemuck::pod_collect_to_vec(values);
        let length = words.len();
        words.resize(length.next_multiple_of(4) + MARGIN, POISON);
        Ok(Self { gpu, buffer: gpu.buffer_from("tensor", &words)?, words: length })
    }

    /// An output: all poison.
    pub fn poisoned(gpu: &'g Gpu, words: usize) -> Result<Self> {
        Self::new(gpu, &vec![POISON; words])
    }

    /// What it holds; an error if its margin was touched.
    pub fn read<T: AnyBitPattern + NoUninit>(&self) -> Result<Vec<T>> {
        let mut words: Vec<u32> = self.gpu.read(&self.buffer)?;
        let margin = words.split_off(self.words);
        match margin.iter().all(|word| *word == POISON) {
            true => Ok(bytemuck::pod_collect_to_vec(&words)),
            false => Err(wrong("something was written past the end")),
        }
    }
}

impl<'a> From<&'a Tensor<'_>> for Slot<'a> {
    fn from(tensor: &'a Tensor<'_>) -> Self {
        Self::from(&tensor.buffer)
    }
}

impl Deref for Tensor<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

/// A kernel that did what no kernel may.
pub(super) fn wrong(problem: &str) -> Error {
    Error::Device(problem.to_owned())
}

/// Records and runs.
pub fn submit(gpu: &Gpu, record: impl FnOnce(&mut Recording)) -> Result<()> {
    let mut recording = Recording::default();
    record(&mut recording);
    gpu.submit(&gpu.program(recording)?)
}

/// `count` words that depend on `seed` alone.
pub fn words(seed: u64, count: usize) -> Vec<u32> {
    let rng = Rng::new(seed, Purpose::Weights);
    (0..count.div_ceil(4) as u64).flat_map(|at| rng.block(at, 0)).take(count).collect()
}

/// `count` numbers in [-1, 1).
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    words(seed, count).into_iter().map(symmetric).collect()
}

/// The same numbers in f64.
pub fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The nearest numbers in f32.
pub fn f32s(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// Their bits.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Words in a stored row of `d` values.
pub fn stored(d: usize) -> usize {
    quads(d) as usize * 4
}

/// Rows of `d` as the device stores them.
pub fn pad(values: &[f32], d: usize) -> Vec<f32> {
    let mut padded = Vec::new();
    pad_rows(values, d, &mut padded);
    padded
}

/// Rows of `d` from how the device stores them; the padding must still be zero, for the next fold reads it.
pub fn unpad(values: &[f32], d: usize) -> Result<Vec<f32>> {
    let rows = || values.chunks_exact(stored(d));
    if rows().any(|row| row[d..].iter().any(|value| *value != 0.0)) {
        return Err(wrong("the padding is no longer zero"));
    }
    Ok(rows().flat_map(|row| row[..d].iter().copied()).collect())
}

/// Codes on the host: `k` different features a row, ascending, about a sixth of the values 0.
pub struct HostCodes {
    pub k: usize,
    pub features: Vec<u32>,
    pub values: Vec<f32>,
}

impl HostCodes {
    /// `hot`: the first slot of every row holds feature 0, with a value above 0.
    pub fn random(seed: u64, rows: usize, n: usize, k: usize, hot: bool) -> Self {
        let mut features = Vec::new();
        let mut values = Vec::new();
        for (entry, word) in words(seed, rows * k).into_iter().enumerate() {
            let slot = entry % k;
            // A stratum a slot keeps features ascending and different.
            let (first, end) = (n * slot / k, n * (slot + 1) / k);
            let is_hot = hot && slot == 0;
            features.push(if is_hot { 0 } else { (first + (word >> 8) as usize % (end - first)) as u32 });
            let value = (word & 0xff) as f32 / 256.0 + 0.125;
            values.push(if word % 6 == 0 && !is_hot { 0.0 } else { value });
        }
        Self { k, features, values }
    }

    /// As the reference takes them.
    pub fn reference(&self) -> reference::Codes {
        let values = f64s(&self.values);
        reference::Codes { k: self.k, features: self.features.clone(), keys: values.clone(), values }
    }
}

/// The runs of a batch on the device, as the reference sorts them.
pub struct DeviceRuns<'g> {
    pub features: Tensor<'g>,
    pub starts: Tensor<'g>,
    pub entries: Tensor<'g>,
    pub block_bounds: Tensor<'g>,
}

impl<'g> DeviceRuns<'g> {
    /// The runs of a model of `n` features.
    pub fn new(gpu: &'g Gpu, runs: &reference::Runs, n: usize) -> Result<Self> {
        Ok(Self {
            features: Tensor::new(gpu, &runs.features)?,
            starts: Tensor::new(gpu, &runs.starts)?,
            entries: Tensor::new(gpu, &runs.entries)?,
            block_bounds: Tensor::new(gpu, &block_bounds(runs, n))?,
        })
    }
}

/// The first run of each block of features, and the number of runs.
pub fn block_bounds(runs: &reference::Runs, n: usize) -> Vec<u32> {
    let bound = |block| runs.features.partition_point(|feature| *feature < block * BLOCK_FEATURES) as u32;
    (0..=(n as u32).div_ceil(BLOCK_FEATURES)).map(bound).collect()
}

/// The ends of shards of `n` features: one shard, and where there are enough features several.
pub(super) fn cuts(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![n]];
    if n > BLOCK_FEATURES as usize {
        all.push((0..n).step_by(BLOCK_FEATURES as usize).skip(1).chain([n]).collect());
    }
    all
}
