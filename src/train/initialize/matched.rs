//! The norm of what an untrained SAE reconstructs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::f64::consts::TAU;
use std::num::NonZeroUsize;
use std::thread;

use super::InitialWeights;
use crate::rng::{Purpose, Rng};

/// Rows that are reconstructed, as many as OpenAI's sparse_autoencoder takes.
const PROBES: usize = 256;

/// The largest products of a row with encoder rows, above 0, and their features.
type Largest = BinaryHeap<Reverse<(u32, Reverse<usize>)>>;

/// The mean norm of the reconstruction, without `b_dec`, of rows of norm 1 in random directions about `b_dec`.
pub(super) fn reconstruction_norm(weights: &InitialWeights, seed: u64, k: usize) -> f64 {
    let d = weights.config.d_in;
    let probes = probes(seed, d);
    let features = weights.config.features;
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = features.div_ceil(threads);
    let parts: Vec<Vec<Largest>> = thread::scope(|scope| {
        let starts = (0..features).step_by(share);
        let work = starts.map(|first| {
            let range = first..features.min(first + share);
            let probes = &probes;
            scope.spawn(move || largest(weights, probes, range, k))
        });
        let work: Vec<_> = work.collect();
        work.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut row = vec![0.0; d];
    let norms = (0..PROBES).map(|probe| {
        let mut all: Vec<_> = parts.iter().flat_map(|part| part[probe].iter().copied()).collect();
        all.sort_unstable();
        let mut reconstruction = vec![0.0; d];
        for Reverse((value, Reverse(feature))) in all.into_iter().take(k) {
            weights.decoder_row(feature, &mut row);
            for (sum, &weight) in reconstruction.iter_mut().zip(&row) {
                *sum += f64::from(f32::from_bits(value)) * f64::from(weight);
            }
        }
        reconstruction.iter().map(|value| value * value).sum::<f64>().sqrt()
    });
    norms.sum::<f64>() / PROBES as f64
}

/// Rows `[PROBES, d]` of norm 1 whose directions are uniform.
pub(super) fn probes(seed: u64, d: usize) -> Vec<f32> {
    let rng = Rng::new(seed, Purpose::Probes);
    let mut rows = vec![0.0; PROBES * d];
    for (index, row) in (0..).zip(rows.chunks_exact_mut(d)) {
        let mut normal: Vec<f64> =
            (0..d.div_ceil(4)).flat_map(|four| gaussian(rng.block(index, four as u32))).collect();
        normal.truncate(d);
        let norm = normal.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        for (value, normal) in row.iter_mut().zip(&normal) {
            *value = (normal / norm) as f32;
        }
    }
    rows
}

/// Four numbers of the normal distribution (Box and Muller).
fn gaussian(bits: [u32; 4]) -> [f64; 4] {
    let [a, b, c, d] = bits.map(|bits| (f64::from(bits) + 0.5) / (f64::from(u32::MAX) + 1.0));
    let pair = |u: f64, v: f64| {
        let radius = (-2.0 * u.ln()).sqrt();
        [radius * (TAU * v).cos(), radius * (TAU * v).sin()]
    };
    let ([w, x], [y, z]) = (pair(a, b), pair(c, d));
    [w, x, y, z]
}

fn largest(weights: &InitialWeights, probes: &[f32], features: std::ops::Range<usize>, k: usize) -> Vec<Largest> {
    let d = weights.config.d_in;
    let mut kept = vec![Largest::new(); PROBES];
    let mut row = vec![0.0; d];
    for feature in features {
        weights.encoder_row(feature, &mut row);
        for (probe, kept) in probes.chunks_exact(d).zip(&mut kept) {
            let product = dot(&row, probe);
            // Bits of numbers above 0 are in their order.
            let key = Reverse((product.to_bits(), Reverse(feature)));
            if product > 0.0 && (kept.len() < k || kept.peek().is_some_and(|least| key < *least)) {
                kept.push(key);
                if kept.len() > k {
                    kept.pop();
                }
            }
        }
    }
    kept
}

/// A product in eight sums, which fill a vector register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}
