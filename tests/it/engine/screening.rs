//! Screening where f32 itself is at its ends: whatever the numbers, its codes are those of f32, to the bit.

use monosem::apply::Encoder;
use monosem::data::Provenance;
use monosem::engine::select::{SelectionMethod, Tuning};
use monosem::rng::{Purpose, Rng};
use monosem::sae::{Sae, SaeConfig, TopK};
use monosem::selftest::screen::variants;
use monosem::selftest::tensors::bits;

use crate::kernels::gpu;

/// 2 to a power.
fn power(exponent: i32) -> f32 {
    f64::from(exponent).exp2() as f32
}

/// An SAE whose keys are scaled by `norm` if it is given.
struct Edge<'a> {
    name: &'a str,
    features: usize,
    x: Vec<f32>,
    k: usize,
    groups: u32,
    weight: &'a dyn Fn(usize, usize) -> f32,
    bias: &'a dyn Fn(usize) -> f32,
    norm: Option<&'a dyn Fn(usize) -> f32>,
}

impl Edge<'_> {
    /// Asserts that one row's codes do not depend on how they are found.
    fn check(&self) {
        let (d, n) = (self.x.len(), self.features);
        let norm = |feature| self.norm.map_or(1.0, |norm| norm(feature));
        let sae = Sae {
            config: SaeConfig {
                apply_b_dec_to_input: false,
                architecture: TopK { rescale_acts_by_decoder_norm: self.norm.is_some(), ..TopK::new(self.k) }.into(),
                ..SaeConfig::top_k(d, n, self.k)
            },
            tensors: vec![
                (0..n * d).map(|at| (self.weight)(at / d, at % d)).collect(),
                (0..n).map(self.bias).collect(),
                (0..n * d).map(|at| if at % d == 0 { norm(at / d) } else { 0.0 }).collect(),
                vec![0.0; d],
            ],
            provenance: Provenance::default(),
        };
        let codes = |method| {
            let codes = Encoder::with_tuning(gpu(), &sae, 1, Tuning::usual(gpu().description(), method))
                .unwrap()
                .encode(&self.x)
                .unwrap();
            let values: Vec<f32> = codes.values.iter().map(|v| if v.is_nan() { f32::NAN } else { *v }).collect();
            (codes.features, bits(&values))
        };
        let expected = codes(SelectionMethod::Chunked);
        for variant in variants(gpu()).into_iter().rev().take(2) {
            let screened = codes(SelectionMethod::Screened { variant, groups: self.groups });
            assert_eq!(screened, expected, "{}, {variant}", self.name);
        }
    }
}

/// The feature that has the largest key, or one that is no number, while another one's bound looks larger.
const WINNER: usize = 300;

/// Less from each group of features to the next.
fn falling(feature: usize) -> f32 {
    power(-(feature as i32 / 8))
}

fn of_winner(feature: usize, value: f32, otherwise: f32) -> f32 {
    if feature == WINNER { value } else { otherwise }
}

#[test]
fn keys_that_overflow_are_found_as_f32_finds_them() {
    let zero: &dyn Fn(usize) -> f32 = &|_| 0.0;
    let usual =
        Edge { name: "", features: 512, x: vec![], k: 1, groups: 3, weight: &|_, _| 0.0, bias: zero, norm: None };
    let first_or_third = |feature, column, first: f32, third: f32| match column {
        0 if feature == WINNER => first,
        2 if feature != WINNER => third * falling(feature),
        _ => 0.0,
    };
    let cancelled = |feature: usize, column: usize| match column {
        1 if feature == WINNER => -power(64),
        _ => first_or_third(feature, column, power(64), power(60)),
    };
    let (name, x) = ("a partial sum that cancels", vec![power(64), power(64), power(62), 0.0]);
    Edge { name, x, weight: &cancelled, ..usual }.check();
    for (name, norm, third) in [("times a small norm", power(-60), 60), ("times no norm", 0.0, 20)] {
        let weight = |feature, column| first_or_third(feature, column, power(66), power(third));
        let norm = |feature| of_winner(feature, norm, 1.0);
        let x = vec![power(66), 0.0, power(62), 0.0];
        Edge { name, x, weight: &weight, norm: Some(&norm), ..usual }.check();
    }
    let weight = |feature, column| first_or_third(feature, column, power(63), power(60));
    let (bias, norm) = (|j| of_winner(j, 1.5 * power(127), 0.0), |j| of_winner(j, power(-60), 1.0));
    let (name, x) = ("by the bias", vec![power(64), 0.0, power(62), 0.0]);
    Edge { name, x, weight: &weight, bias: &bias, norm: Some(&norm), ..usual }.check();

    // Product and bias that cancel, of which one alone overflows once it is scaled.
    for sign in [1.0, -1.0] {
        let weight = |feature: usize, column: usize| match (column, feature / 8 == WINNER / 8) {
            (0, true) => -sign * power(44) * (1.0 + of_winner(feature, sign * power(-16), sign * 4.0)),
            (0, false) => -power(36) * (1.0 + 0.1 * (feature / 8) as f32),
            _ => 0.0,
        };
        let bias = |feature| of_winner(feature, sign * power(108) * (1.0 - power(-16)), 0.0);
        let (name, x) = ("bias against product", vec![power(64), 0.0, 0.0, 0.0]);
        Edge { name, x, weight: &weight, bias: &bias, norm: Some(&|_| power(20)), ..usual }.check();
    }
}

#[test]
fn keys_whose_parts_underflow_are_found_as_f32_finds_them() {
    let zero: &dyn Fn(usize) -> f32 = &|_| 0.0;
    let usual =
        Edge { name: "", features: 512, x: vec![], k: 1, groups: 3, weight: &|_, _| 0.0, bias: zero, norm: None };
    // x, and of the winner and of the others weight and norm, by powers.
    for (x, weights, norms, largest) in [
        (80, [-72, -72], [-63, -63], 1.2),
        (100, [-81, -79], [-62, -70], 1.2),
        (40, [-60, -50], [-53, -64], 1.2),
        (60, [-60, -60], [-60, -60], 0.9),
    ] {
        let weight = |feature: usize, column: usize| {
            let others = power(weights[1]) * (largest - 0.02 * (feature / 8).min(9) as f32);
            if column == 0 { of_winner(feature, power(weights[0]), others) } else { 0.0 }
        };
        let norm = |feature| of_winner(feature, power(norms[0]) * 1.49, power(norms[1]));
        let (name, x) = (format!("{x} {weights:?} {norms:?}"), vec![power(x), 0.0, 0.0, 0.0]);
        Edge { name: &name, x, weight: &weight, norm: Some(&norm), ..usual }.check();
    }
    // Sums of subnormals, which are rounded or flushed and then made large.
    for (x, norm, bias, fold) in [
        (-75, 63, -76, [(1024, 1.51 * power(-74)), (0, 0.0)]),
        (-63, 63, -56, [(1000, -0.9 * power(-64)), (24, power(-59))]),
        (-63, 45, -74, [(1000, -0.9 * power(-64)), (24, power(-59))]),
    ] {
        let weight = |feature, column| {
            let [(first, value), (_, after)] = fold;
            of_winner(feature, if column < first { value } else { after }, 0.0)
        };
        let bias = |feature: usize| {
            let part = match feature {
                0 => 1.9,
                8 => 1.7,
                16 => 1.65,
                _ => 0.0,
            };
            part * power(bias)
        };
        let norm_of = |feature| of_winner(feature, power(norm), 1.0);
        let (name, x) = (format!("a fold of subnormals times 2^{norm}"), vec![power(x); 1024]);
        Edge { name: &name, x, weight: &weight, bias: &bias, norm: Some(&norm_of), ..usual }.check();
    }
}

#[test]
fn keys_of_any_size_are_found_as_f32_finds_them() {
    let random = |seed: u64, at: u64| Rng::new(seed, Purpose::Weights).block(at, 0);
    for seed in 0..60 {
        let [a, b, c, e] = random(seed, 0);
        let (d, n, k) = (1 + a as usize % 40, 60 + b as usize % 500, 1 + c as usize % 20);
        // Each tensor is about a size of its own, and each of its rows about one of theirs.
        let centre = |at: usize| random(seed, 1)[at] as i32 % 100;
        let value = |tensor: usize, row: usize, column: usize| {
            let [value, ..] = random(seed + 1000 * tensor as u64, 2 + (row * d + column) as u64);
            let spread = random(seed + 1000 * tensor as u64, u64::MAX - row as u64)[0] as i32 % 10;
            power((centre(tensor) + spread).clamp(-140, 126)) * (value as i32 as f32 / 2_f32.powi(31))
        };
        let (weight, bias) = (|j, column| value(0, j, column), |j| value(1, j, 0));
        let norm = |j| value(2, j, 0);
        let norm: Option<&dyn Fn(usize) -> f32> = if e % 2 == 0 { Some(&norm) } else { None };
        let (name, x) = (format!("seed {seed}"), (0..d).map(|column| value(3, 0, column)).collect());
        Edge { name: &name, features: n, x, k, groups: k as u32 + e % 7, weight: &weight, bias: &bias, norm }.check();
    }
}
