//! The kernels against `monosem::reference`, on whichever device there is.

mod activity;
mod admit;
mod batch;
mod bias_gradient;
mod ceilings;
mod center;
mod check_bounds;
mod clip;
mod closed;
mod count;
mod dead;
mod decode;
mod encode;
mod mark;
mod merge;
mod model;
mod normalize;
mod norms;
mod product;
mod rerun;
mod rescore;
mod residual;
mod screen;
mod select;
mod select_wide;
mod slopes;
mod sort;
mod squares;
mod summary;
mod threshold;
mod to_f16;
mod update;
mod variance;
mod widen;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use monosem::engine::parameters::{CHUNKS, chunk_features};
use monosem::gpu::shaders::bias_gradient::BLOCK_ROWS;
use monosem::gpu::{AdapterChoice, Gpu};
use monosem::selftest::tensors::{POISON, Tensor, random};
use monosem::selftest::worst_error;

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

/// Asserts that `run` gives the same bits every time, and returns them.
pub fn deterministic(run: impl Fn() -> Vec<u32>) -> Vec<u32> {
    let first = run();
    assert!(!first.is_empty() && !first.contains(&POISON));
    for again in 1..5 {
        assert!(run() == first, "run {again} differs from the first");
    }
    first
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
        let lane = column % 128;
        lanes[lane] = a.mul_add(*b, lanes[lane]);
    }
    let mut sums = [lanes[0], lanes[1], lanes[2], lanes[3]];
    for group in lanes[4..].chunks_exact(4) {
        for (sum, lane) in sums.iter_mut().zip(group) {
            *sum += lane;
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Rule B of docs/architecture.md, of terms with their list and row.
pub fn rule_b(terms: impl Iterator<Item = (u32, usize, f32)>) -> f32 {
    let mut blocks: BTreeMap<(u32, usize), f32> = BTreeMap::new();
    for (list, row, term) in terms {
        *blocks.entry((list, row / BLOCK_ROWS as usize)).or_insert(0.0) += term;
    }
    blocks.into_values().fold(0.0, |sum, block| sum + block)
}

/// Rule T of docs/architecture.md, of sums of chunks.
pub fn rule_t(leaves: &[f32]) -> f32 {
    match leaves {
        [leaf] => *leaf,
        _ => rule_t(&leaves[..leaves.len() / 2]) + rule_t(&leaves[leaves.len() / 2..]),
    }
}

/// Rule X of docs/architecture.md, of terms with their features, ascending, of a model of `n`.
pub fn rule_x(n: usize, terms: impl Iterator<Item = (u32, f32)>) -> f32 {
    let mut chunks = [0_f32; CHUNKS as usize];
    for (feature, term) in terms {
        chunks[(feature / chunk_features(n as u32)) as usize] += term;
    }
    rule_t(&chunks) + 0.0
}

/// The sums of chunks by rule F of docs/architecture.md.
pub fn rule_f(n: usize, terms: impl Iterator<Item = (u32, f32)>) -> Vec<f32> {
    let mut blocks: BTreeMap<u32, f32> = BTreeMap::new();
    for (feature, term) in terms {
        *blocks.entry(feature / 64).or_insert(0.0) += term;
    }
    let mut larger: BTreeMap<u32, f32> = BTreeMap::new();
    for (block, sum) in blocks {
        *larger.entry(block / 16).or_insert(0.0) += sum;
    }
    let mut chunks = vec![0_f32; CHUNKS as usize];
    for (block, sum) in larger {
        chunks[(block * 1024 / chunk_features(n as u32)) as usize] += sum;
    }
    chunks
}

/// Asserts that no value differs from the expected one by more than `tolerance` of the largest expected magnitude.
#[track_caller]
pub fn assert_close(name: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    let (error, at) = worst_error(actual, expected);
    let (actual, expected) = (actual.get(at), expected.get(at));
    assert!(error <= tolerance, "{name}[{at}] is {actual:?}, not {expected:?}: {error:e} of the largest magnitude");
    println!("worst {name} {error:.1e} of {tolerance:.1e}");
}

#[test]
#[should_panic(expected = "past the end")]
fn margins_are_watched() {
    let tensor = Tensor::new(gpu(), &[1_u32, 2, 3, 4]).unwrap();
    assert_eq!(tensor.read::<u32>().unwrap(), [1, 2, 3, 4]);
    gpu().upload(&tensor, 16, &[0_u32]);
    tensor.read::<u32>().unwrap();
}

#[test]
#[should_panic(expected = "padding is no longer zero")]
fn padding_is_watched() {
    monosem::selftest::tensors::unpad(
        &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        2,
    )
    .unwrap();
}
