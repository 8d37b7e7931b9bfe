//! A place in the plane for each feature, neighbours close together.
//!
//! The layout follows UMAP (McInnes, Healy, Melville 2018, section 3.2): neighbours attract, pairs drawn at random
//! repel, with a step that shrinks. It starts from random places that are averaged over the graph of neighbours, and
//! stops after a fixed number of updates. Only what is close says something: distances far apart, and the directions of
//! the axes, do not.

use crate::error::Result;
use crate::features::reader::FeatureSet;
use crate::rng::{Purpose, Rng, symmetric};
use crate::storage::Dtype;

/// Updates of a pair of places, at most: some seconds of one core.
const UPDATES: u64 = 60_000_000;
const MAX_EPOCHS: u64 = 300;
const MIN_EPOCHS: u64 = 4;

/// Neighbours of each feature that are used, the closest.
const NEIGHBORS: usize = 8;

/// Random pairs for each pair of neighbours, as UMAP has by default.
const REPELLED: u64 = 5;

/// UMAP's curve of closeness 1 / (1 + A d^(2 B)) for a minimum distance of 0.1.
const A: f32 = 1.577;
const B: f32 = 0.895;

/// The longest move, before it is scaled by the step.
const CLIP: f32 = 4.0;

/// Times that places are averaged over the graph before the layout.
const SMOOTHED: usize = 12;

/// Side of the square that the start fills.
const SIDE: f32 = 20.0;

type Place = [f32; 2];

/// Two neighbours, and how strongly they attract, from 0 to 1.
#[derive(Clone, Copy)]
struct Edge {
    ends: [u32; 2],
    strength: f32,
}

/// A place for each feature of the set, if it has neighbours, scaled to fill the square of 2^16.
///
/// # Errors
/// [`crate::Error::Data`] when the neighbours are damaged, [`crate::Error::Io`].
pub(super) fn layout(set: &FeatureSet) -> Result<Option<Vec<[u16; 2]>>> {
    let edges = edges(set)?;
    Ok((!edges.is_empty()).then(|| scaled(&places(set.features, &edges))))
}

fn edges(set: &FeatureSet) -> Result<Vec<Edge>> {
    let Some(tensors) = &set.neighbors else { return Ok(Vec::new()) };
    let neighbors = tensors.column("neighbors", Dtype::I32)?;
    let cosines = tensors.column("cosines", Dtype::F32)?;
    let mut edges = Vec::new();
    const ROWS: usize = 1 << 14;
    for first in (0..set.features).step_by(ROWS) {
        let rows = first..set.features.min(first + ROWS);
        let (indices, values): (Vec<i32>, _) =
            (tensors.rows(&neighbors, rows.clone())?, tensors.floats(&cosines, rows.clone())?);
        let width = neighbors.width.min(cosines.width).max(1);
        for ((feature, indices), values) in rows.zip(indices.chunks(width)).zip(values.chunks(width)) {
            let closest = values.first().copied().unwrap_or(0.0).max(f32::MIN_POSITIVE);
            for (&other, &cosine) in indices.iter().zip(values).take(NEIGHBORS) {
                let exists = usize::try_from(other).is_ok_and(|other| other < set.features && other != feature);
                if exists && cosine > 0.0 {
                    let strength = (cosine / closest).min(1.0);
                    edges.push(Edge { ends: [feature as u32, other as u32], strength });
                }
            }
        }
    }
    Ok(edges)
}

fn places(features: usize, edges: &[Edge]) -> Vec<Place> {
    let rng = Rng::new(0, Purpose::Weights);
    let mut places = start(features, edges, rng);
    let per_epoch = edges.len() as u64 * (1 + REPELLED);
    let epochs = (UPDATES / per_epoch).clamp(MIN_EPOCHS, MAX_EPOCHS);
    for epoch in 0..epochs {
        let step = 1.0 - epoch as f32 / epochs as f32;
        for (at, edge) in edges.iter().enumerate() {
            let words = |block: u64| rng.block((epoch * edges.len() as u64 + at as u64) * 2 + block, 1);
            let [chosen, first, second, third] = words(0);
            if chosen as f32 > edge.strength * u32::MAX as f32 {
                continue;
            }
            let [one, other] = edge.ends.map(|end| end as usize);
            attract(&mut places, one, other, step);
            let [fourth, fifth, ..] = words(1);
            for random in [first, second, third, fourth, fifth] {
                let from = ((u64::from(random) * features as u64) >> 32) as usize;
                repel(&mut places, one, from, step);
            }
        }
    }
    places
}

/// Random places, averaged over neighbours: an approximation of the graph's slowest modes, as UMAP starts from.
fn start(features: usize, edges: &[Edge], rng: Rng) -> Vec<Place> {
    let random = |feature| {
        let [x, y, ..] = rng.block(feature as u64, 0);
        [symmetric(x), symmetric(y)]
    };
    let mut places: Vec<Place> = (0..features).map(random).collect();
    for _ in 0..SMOOTHED {
        let mut sums: Vec<[f32; 3]> = places.iter().map(|[x, y]| [*x, *y, 1.0]).collect();
        for edge in edges {
            let [one, other] = edge.ends.map(|end| end as usize);
            for (to, from) in [(one, other), (other, one)] {
                sums[to][0] += edge.strength * places[from][0];
                sums[to][1] += edge.strength * places[from][1];
                sums[to][2] += edge.strength;
            }
        }
        places = sums.iter().map(|[x, y, weight]| [x / weight, y / weight]).collect();
        standardize(&mut places);
    }
    for (feature, place) in places.iter_mut().enumerate() {
        // Averages coincide in small graphs, and what coincides is not pushed apart.
        let jitter = random(features + feature);
        for axis in 0..2 {
            place[axis] = place[axis].clamp(-2.0, 2.0) * SIDE / 4.0 + 0.01 * jitter[axis];
        }
    }
    places
}

/// To mean 0 and variance 1 along each axis, and no correlation: both would approach the same mode otherwise.
fn standardize(places: &mut [Place]) {
    let count = places.len() as f64;
    for axis in 0..2 {
        let mean = places.iter().map(|place| f64::from(place[axis])).sum::<f64>() / count;
        places.iter_mut().for_each(|place| place[axis] = (f64::from(place[axis]) - mean) as f32);
        if axis == 1 {
            let shared = product(places, [0, 1]) / product(places, [0, 0]).max(f64::MIN_POSITIVE);
            places.iter_mut().for_each(|place| place[1] -= shared as f32 * place[0]);
        }
        let variance = product(places, [axis; 2]) / count;
        let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
        places.iter_mut().for_each(|place| place[axis] = (f64::from(place[axis]) * scale) as f32);
    }
}

fn product(places: &[Place], axes: [usize; 2]) -> f64 {
    places.iter().map(|place| f64::from(place[axes[0]]) * f64::from(place[axes[1]])).sum()
}

fn squared_distance(one: Place, other: Place) -> f32 {
    (one[0] - other[0]).powi(2) + (one[1] - other[1]).powi(2)
}

fn attract(places: &mut [Place], one: usize, other: usize, step: f32) {
    let squared = squared_distance(places[one], places[other]);
    if squared > 0.0 {
        let power = squared.powf(B);
        let factor = -2.0 * A * B * power / squared / (1.0 + A * power);
        let change = change(factor, step, places[one], places[other]);
        for axis in 0..2 {
            places[one][axis] += change[axis];
            places[other][axis] -= change[axis];
        }
    }
}

fn repel(places: &mut [Place], one: usize, from: usize, step: f32) {
    let squared = squared_distance(places[one], places[from]);
    if squared > 0.0 {
        let factor = 2.0 * B / ((0.001 + squared) * (1.0 + A * squared.powf(B)));
        // As in UMAP's code, only one end moves.
        let change = change(factor, step, places[one], places[from]);
        for axis in 0..2 {
            places[one][axis] += change[axis];
        }
    }
}

/// Along the line through both places; UMAP's code cuts each coordinate instead, which favours the diagonals.
fn change(factor: f32, step: f32, one: Place, other: Place) -> Place {
    let difference = [one[0] - other[0], one[1] - other[1]];
    let length = factor.abs() * squared_distance(one, other).sqrt();
    let scale = step * factor * if length > CLIP { CLIP / length } else { 1.0 };
    difference.map(|difference| scale * difference)
}

/// The same scale along both axes; what is far outside of the rest is moved to the edge.
fn scaled(places: &[Place]) -> Vec<[u16; 2]> {
    const CUT: f64 = 0.0005;
    let range = |axis: usize| {
        let mut values: Vec<f32> = places.iter().map(|place| place[axis]).collect();
        values.sort_unstable_by(f32::total_cmp);
        let cut = (values.len() as f64 * CUT) as usize;
        (values[cut], values[values.len() - 1 - cut])
    };
    let (x, y) = (range(0), range(1));
    let side = (x.1 - x.0).max(y.1 - y.0).max(f32::MIN_POSITIVE);
    let coordinate = |value: f32, (low, high): (f32, f32)| {
        let middle = (low + high) / 2.0;
        // A cast saturates.
        (((value - middle) / side + 0.5) * 65535.0) as u16
    };
    places.iter().map(|place| [coordinate(place[0], x), coordinate(place[1], y)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of ten, every member the neighbour of all others of its group.
    fn groups(count: u32) -> Vec<Edge> {
        let pairs = (0..count * 10).flat_map(|one| (0..10).map(move |other| [one, one / 10 * 10 + other]));
        pairs.filter(|[one, other]| one != other).map(|ends| Edge { ends, strength: 1.0 }).collect()
    }

    #[test]
    fn neighbors_lie_close_together() {
        let places = places(80, &groups(8));
        assert!(places.iter().flatten().all(|value| value.is_finite()));
        let distance = |one: usize, other: usize| squared_distance(places[one], places[other]).sqrt();
        let mean = |pairs: &[(usize, usize)]| {
            pairs.iter().map(|&(one, other)| distance(one, other)).sum::<f32>() / pairs.len() as f32
        };
        let pairs: Vec<(usize, usize)> = (0..80).flat_map(|one| (0..one).map(move |other| (one, other))).collect();
        let (within, between): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(one, other)| one / 10 == other / 10);
        assert!(4.0 * mean(&within) < mean(&between), "{} {}", mean(&within), mean(&between));
    }

    #[test]
    fn the_same_graph_has_the_same_map_inside_the_square() {
        let edges = groups(3);
        let [first, second] = [0; 2].map(|_| scaled(&places(31, &edges)));
        assert_eq!(first, second);
        let wide = |axis: usize| {
            let values = first.iter().map(|place| place[axis]);
            values.clone().max().unwrap() - values.min().unwrap()
        };
        assert!(wide(0).max(wide(1)) > 65_000, "{} {}", wide(0), wide(1));
    }

    #[test]
    fn a_single_pair_has_a_map() {
        let edge = Edge { ends: [0, 1], strength: 1.0 };
        assert_eq!(scaled(&places(2, &[edge])).len(), 2);
        assert_eq!(scaled(&[[1.0, 1.0]]).len(), 1);
    }
}
