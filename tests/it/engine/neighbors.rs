//! The nearest features, against f64 and all pairs.

use monosem::Error;
use monosem::data::Provenance;
use monosem::features::neighbors::{Nearest, Neighbors};
use monosem::gpu::Gpu;
use monosem::sae::{Sae, SaeConfig};
use monosem::selftest::tensors::random;

use crate::kernels::gpu;

/// An SAE of these decoder rows; its encoder is none of them.
fn sae(d: usize, w_dec: Vec<f32>) -> Sae {
    let features = w_dec.len() / d;
    let w_enc = vec![f32::MAX; w_dec.len()];
    let tensors = vec![w_enc, vec![1.0; features], w_dec, vec![2.0; d]];
    Sae { config: SaeConfig::top_k(d, features, 1), tensors, provenance: Provenance::default() }
}

/// Random rows, of which some are zeros, copies of others, their negatives, or longer and shorter.
fn awkward(d: usize, features: usize, seed: u64) -> Sae {
    let mut rows = random(seed, features * d);
    let mut set = |feature: usize, from: usize, factor: f32| {
        if feature < features {
            let row: Vec<f32> = rows[from * d..][..d].iter().map(|value| value * factor).collect();
            rows[feature * d..][..d].copy_from_slice(&row);
        }
    };
    for (feature, from, factor) in
        [(3, 0, 1.0), (4, 0, 1.0), (5, 0, 2.0), (6, 0, -1.0), (7, 1, 1e-30), (8, 2, 1e30), (9, 0, 0.0), (10, 0, 0.0)]
    {
        set(feature, from, factor);
    }
    // Copies far apart, in other shards.
    for feature in (1500..features).step_by(700) {
        set(feature, 0, 0.25);
    }
    sae(d, rows)
}

fn find(gpu: &Gpu, neighbors: &Neighbors<'_>, features: Option<&[u32]>) -> Nearest {
    let mut all = Nearest::default();
    neighbors
        .find(gpu, features, |found| {
            assert_eq!(found.first * neighbors.count(), all.neighbors.len());
            all.neighbors.extend(&found.neighbors);
            all.cosines.extend(&found.cosines);
            Ok(())
        })
        .unwrap();
    all
}

/// The cosines of a row with all of an SAE in f64, 0 where one of them is zeros.
fn cosines(row: &[f32], sae: &Sae) -> Vec<f64> {
    let dot =
        |one: &[f32], other: &[f32]| -> f64 { one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let cosine = |other: &[f32]| match (dot(row, row) * dot(other, other)).sqrt() {
        0.0 => 0.0,
        norms => dot(row, other) / norms,
    };
    sae.tensor("W_dec").chunks_exact(sae.config.d_in).map(cosine).collect()
}

/// What f32 adds to a cosine at most: a rounding of each factor and of each sum, over d terms of a product of norms 1.
fn tolerance(d: usize) -> f64 {
    (d as f64 + 3.0) * f64::from(f32::EPSILON)
}

/// Checks what was found for the features `of` against all pairs.
fn check(found: &Nearest, of: &Sae, features: &[u32], among: Option<&Sae>, count: usize) {
    let (d, other) = (of.config.d_in, among.unwrap_or(of));
    let margin = tolerance(d);
    assert_eq!([found.neighbors.len(), found.cosines.len()], [features.len() * count; 2]);
    for (at, &feature) in features.iter().enumerate() {
        let expected = cosines(&of.tensor("W_dec")[feature as usize * d..][..d], other);
        let own = among.is_none().then_some(feature as usize);
        let slots = at * count..(at + 1) * count;
        let (neighbors, found) = (&found.neighbors[slots.clone()], &found.cosines[slots]);
        for (neighbor, cosine) in neighbors.iter().zip(found) {
            let exact = expected[*neighbor as usize];
            assert!((f64::from(*cosine) - exact).abs() <= margin, "{feature}, {neighbor}: {cosine}, {exact}");
            assert!((-1.0..=1.0).contains(cosine) && Some(*neighbor as usize) != own, "{feature}, {neighbor}");
        }
        let pairs: Vec<_> = found.iter().zip(neighbors).collect();
        assert!(pairs.is_sorted_by(|a, b| a.0 > b.0 || a.0 == b.0 && a.1 < b.1), "{feature}: {pairs:?}");
        // Nothing that was left out is nearer than the last that was found.
        let last = f64::from(found[count - 1]);
        for (left_out, exact) in expected.iter().enumerate() {
            if Some(left_out) != own && !neighbors.contains(&(left_out as u32)) {
                assert!(*exact <= last + margin, "{feature}: {left_out} at {exact} was left out for {last}");
            }
        }
    }
}

#[test]
fn neighbors_are_those_of_all_pairs() {
    for (d, features, count, batch) in
        [(16, 60, 5, 4096), (16, 60, 59, 7), (5, 300, 1, 64), (3, 12, 10, 12), (37, 700, 70, 256)]
    {
        let sae = awkward(d, features, 1);
        let neighbors = Neighbors::new(&sae, None, count, batch).unwrap();
        assert_eq!(neighbors.count(), count);
        let all: Vec<u32> = (0..features as u32).collect();
        check(&find(gpu(), &neighbors, None), &sae, &all, None, count);
    }
}

#[test]
fn shards_give_the_bits_of_one() {
    // Three shards of 1,024 rows of 16 values.
    let sae = awkward(16, 2500, 2);
    let neighbors = Neighbors::new(&sae, None, 6, 1000).unwrap();
    let whole = find(gpu(), &neighbors, None);
    check(&whole, &sae, &(0..2500).collect::<Vec<_>>(), None, 6);
    let narrow = gpu().with_max_binding_bytes(1024 * 16 * 4);
    let few = Neighbors::new(&sae, None, 6, 100).unwrap();
    assert!(find(&narrow, &few, None) == whole);
    let picked = [2499, 0, 1500, 0];
    let of_picked = find(gpu(), &neighbors, Some(&picked));
    let expected = picked.map(|feature| &whole.neighbors[feature as usize * 6..][..6]).concat();
    assert_eq!(of_picked.neighbors, expected);
}

#[test]
fn ties_go_to_the_lower_feature_and_zeros_have_no_direction() {
    // Opposite directions, a right angle, zeros, and copies.
    let rows = [[1.0, 0.0], [-2.0, 0.0], [0.0, 3.0], [0.0, 0.0], [4.0, 0.0], [0.5, 0.0], [0.0, 0.0]];
    let sae = sae(2, rows.concat());
    let nearest = |count, features: &[u32]| {
        let Nearest { neighbors, cosines, .. } =
            find(gpu(), &Neighbors::new(&sae, None, count, 100).unwrap(), Some(features));
        (neighbors, cosines)
    };
    assert_eq!(nearest(6, &[0]), (vec![4, 5, 2, 3, 6, 1], vec![1.0, 1.0, 0.0, 0.0, 0.0, -1.0]));
    assert_eq!(nearest(6, &[1]), (vec![2, 3, 6, 0, 4, 5], vec![0.0, 0.0, 0.0, -1.0, -1.0, -1.0]));
    // Equals come before the feature itself.
    assert_eq!(nearest(1, &[0, 4, 5]), (vec![4, 0, 0], vec![1.0; 3]));
    assert_eq!(nearest(3, &[6]), (vec![0, 1, 2], vec![0.0; 3]));
    // As many as there are.
    let all = Neighbors::new(&sae, None, 100, 100).unwrap();
    assert_eq!(all.count(), 6);
    assert_eq!(find(gpu(), &all, Some(&[0])).neighbors, nearest(6, &[0]).0);
}

#[test]
fn features_have_neighbors_in_another_sae() {
    let (small, large) = (awkward(16, 40, 3), awkward(16, 90, 4));
    for (of, among, count) in [(&small, &large, 7), (&large, &small, 40), (&small, &small, 3)] {
        let neighbors = Neighbors::new(of, Some(among), count, 33).unwrap();
        let all: Vec<u32> = (0..of.config.features as u32).collect();
        check(&find(gpu(), &neighbors, None), of, &all, Some(among), count);
    }
    // Its own copy in the other is a feature's nearest.
    let neighbors = Neighbors::new(&small, Some(&small), 1, 33).unwrap();
    assert_eq!(find(gpu(), &neighbors, Some(&[20, 30])).neighbors, [20, 30]);
}

#[test]
fn what_has_no_neighbors_is_refused() {
    let (sae, wide, lone) = (awkward(16, 40, 3), awkward(5, 40, 4), awkward(16, 1, 5));
    let refuse = |of, among, words: &str| {
        let Err(Error::Config(problem)) = Neighbors::new(of, among, 1, 10).map(drop) else { panic!("{words}") };
        assert!(problem.contains(words), "{problem}");
    };
    refuse(&sae, Some(&wide), "have 16 values and those of the other have 5");
    refuse(&lone, None, "no other");
    let neighbors = Neighbors::new(&sae, None, 1, 10).unwrap();
    let outcome = neighbors.find(gpu(), Some(&[3, 40]), |_| Ok(()));
    assert!(matches!(&outcome, Err(Error::Config(problem)) if problem.contains("no feature 40")), "{outcome:?}");
}
