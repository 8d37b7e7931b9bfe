//! The kernels against `monosem::reference`, on whichever device there is.

mod activity;
mod bias_gradient;
mod center;
mod clip;
mod code_gradients;
mod decode;
mod encode;
mod gradients;
mod norms;
mod residual;
mod select;
mod transpose;
mod update;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::OnceLock;

use bytemuck::{AnyBitPattern, NoUninit, Pod};
use monosem::gpu::{AdapterChoice, Buffer, Gpu, Recording};
use monosem::kernels::{BLOCK_FEATURES, BLOCK_ROWS, quads};
use monosem::reference;
use monosem::rng::{Purpose, Rng, symmetric};

/// Largest difference of an f32 fold from the same sum in f64, of the tensor's largest magnitude. A fold of t terms drifts
/// by about sqrt(t) half ulps (6e-8); the tests' longest has 800.
pub const FOLD: f64 = 4e-6;

/// The same for results of a few operations each.
pub const ELEMENTWISE: f64 = 2.5e-7;

/// What fills outputs before a kernel runs and the margins of all buffers always: NaN as f32, out of reach as an index.
const POISON: u32 = u32::MAX;

/// Words of margin behind a tensor: more than a workgroup that ignores its bounds would write.
const MARGIN: usize = 1024;

/// The guard at rest.
pub const AT_REST: [u32; 2] = [0, 0];

/// One device for the whole process.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let adapter = match std::env::var("MONOSEM_TEST_DEVICE") {
            Ok(text) => text.parse().unwrap(),
            Err(_) => AdapterChoice::Best,
        };
        let gpu = Gpu::open(&adapter).unwrap();
        println!("tested on {}, subgroups of {:?}", gpu.description(), gpu.description().subgroup_size);
        gpu
    })
}

/// A buffer with a poisoned margin behind its words.
pub struct Tensor {
    buffer: Buffer,
    words: usize,
}

impl Tensor {
    pub fn new<T: Pod>(values: &[T]) -> Self {
        let mut words: Vec<u32> = bytemuck::pod_collect_to_vec(values);
        let length = words.len();
        words.resize(length.next_multiple_of(4) + MARGIN, POISON);
        Self { buffer: gpu().buffer_from("tensor", &words).unwrap(), words: length }
    }

    /// An output: all poison.
    pub fn poisoned(words: usize) -> Self {
        Self::new(&vec![POISON; words])
    }

    /// What it holds; its margin must be untouched.
    pub fn read<T: AnyBitPattern + NoUninit>(&self) -> Vec<T> {
        let mut words: Vec<u32> = gpu().read(&self.buffer).unwrap();
        let margin = words.split_off(self.words);
        assert!(margin.iter().all(|word| *word == POISON), "something was written past the end");
        bytemuck::pod_collect_to_vec(&words)
    }
}

impl Deref for Tensor {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

pub fn run(record: impl FnOnce(&mut Recording)) {
    let mut recording = Recording::default();
    record(&mut recording);
    let program = gpu().program(recording).unwrap();
    gpu().submit(&program).unwrap();
}

/// Asserts that `run` gives the same bits every time, and returns them.
pub fn deterministic(run: impl Fn() -> Vec<u32>) -> Vec<u32> {
    let first = run();
    assert!(!first.is_empty() && !first.contains(&POISON));
    for again in 1..5 {
        assert!(run() == first, "run {again} differs from the first");
    }
    first
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

/// Numbers with 11 bits, of sizes that depend on their index alone: in f32 their products and differences are exact and
/// sums are not, so that a fold has the same bits whether the driver fuses `fma` or not, but no other order has them.
pub fn coarse(seed: u64, count: usize) -> Vec<f32> {
    let size = |at: usize| (1 << (at * 7 % 13)) as f32 / 1024.0;
    random(seed, count).into_iter().enumerate().map(|(at, value)| (value * 1024.0).round() * size(at)).collect()
}

/// Rule D of docs/architecture.md.
pub fn rule_d(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| a.mul_add(*b, sum))
}

/// Rule R of docs/architecture.md, of products.
pub fn rule_r(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0_f32; 128];
    for (column, (a, b)) in a.iter().zip(b).enumerate() {
        lanes[column % 128] = a.mul_add(*b, lanes[column % 128]);
    }
    let mut sums = [lanes[0], lanes[1], lanes[2], lanes[3]];
    for group in lanes[4..].chunks_exact(4) {
        for (sum, lane) in sums.iter_mut().zip(group) {
            *sum += lane;
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Rule B of docs/architecture.md, of terms with their rows.
pub fn rule_b(terms: impl Iterator<Item = (usize, f32)>) -> f32 {
    let mut blocks: BTreeMap<usize, f32> = BTreeMap::new();
    for (row, term) in terms {
        *blocks.entry(row / BLOCK_ROWS as usize).or_insert(0.0) += term;
    }
    blocks.into_values().fold(0.0, |sum, block| sum + block)
}

pub fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

pub fn f32s(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Words in a stored row of `d` values.
pub fn stored(d: usize) -> usize {
    quads(d) as usize * 4
}

/// Rows of `d` as the device stores them.
pub fn pad(values: &[f32], d: usize) -> Vec<f32> {
    let row = |row: &[f32]| row.iter().copied().chain(vec![0.0; stored(d) - d]).collect::<Vec<_>>();
    values.chunks_exact(d).flat_map(row).collect()
}

/// Rows of `d` from how the device stores them; the padding must still be zero, for the next fold reads it.
pub fn unpad(values: &[f32], d: usize) -> Vec<f32> {
    let row = |row: &[f32]| {
        assert!(row[d..].iter().all(|value| *value == 0.0), "the padding is no longer zero: {:?}", &row[d..]);
        row[..d].to_vec()
    };
    values.chunks_exact(stored(d)).flat_map(row).collect()
}

/// Asserts that no value differs from the expected one by more than `tolerance` of the largest expected magnitude.
#[track_caller]
pub fn assert_close(name: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let mut worst = (0.0, 0);
    for (at, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*actual) - expected).abs() / largest;
        assert!(error <= tolerance, "{name}[{at}] is {actual}, not {expected}: {error:e} of {largest}");
        if error > worst.0 {
            worst = (error, at);
        }
    }
    println!("worst {name} {:.1e} of {tolerance:.1e}", worst.0);
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

    pub fn reference(&self) -> reference::Codes {
        let values = f64s(&self.values);
        reference::Codes { k: self.k, features: self.features.clone(), keys: values.clone(), values }
    }
}

/// The runs of a batch on the device, as the reference sorts them.
pub struct DeviceRuns {
    pub features: Tensor,
    pub starts: Tensor,
    pub entries: Tensor,
    pub block_bounds: Tensor,
}

impl DeviceRuns {
    pub fn new(runs: &reference::Runs, n: usize) -> Self {
        Self {
            features: Tensor::new(&runs.features),
            starts: Tensor::new(&runs.starts),
            entries: Tensor::new(&runs.entries),
            block_bounds: Tensor::new(&block_bounds(runs, n)),
        }
    }
}

pub fn block_bounds(runs: &reference::Runs, n: usize) -> Vec<u32> {
    let bound = |block| runs.features.partition_point(|feature| *feature < block * BLOCK_FEATURES) as u32;
    (0..=(n as u32).div_ceil(BLOCK_FEATURES)).map(bound).collect()
}

#[test]
#[should_panic(expected = "past the end")]
fn margins_are_watched() {
    let tensor = Tensor::new(&[1_u32, 2, 3, 4]);
    assert_eq!(tensor.read::<u32>(), [1, 2, 3, 4]);
    gpu().upload(&tensor, 16, &[0_u32]);
    tensor.read::<u32>();
}
