use monosem::kernels::Transpose;
use monosem::reference;
use monosem::selftest::tensors::{HostCodes, block_bounds};
use monosem::selftest::transpose::transpose;

use super::gpu;

fn check(kernels: &Transpose, codes: &HostCodes, n: usize, what: &str) {
    let expected = reference::transpose(&codes.reference(), n);
    let (runs, bounds) = transpose(gpu(), kernels, codes, n).unwrap();
    assert!(runs == expected, "{what}: {} runs, not {}", runs.features.len(), expected.features.len());
    assert_eq!(bounds, block_bounds(&expected, n), "{what}");
}

#[test]
fn every_number_of_features_and_entries_matches_the_reference() {
    let kernels = Transpose::new(gpu()).unwrap();
    for n in [1, 2, 255, 256, 257, 1024, 1025, 65_535, 65_536, 65_537, (1 << 24) + 5] {
        for (rows, k) in [(0, 1), (1, 1), (7, 3), (255, 1), (1023, 1), (512, 2), (205, 5), (4097, 1)] {
            if k <= n {
                let codes = HostCodes::random(n as u64, rows, n, k, false);
                check(&kernels, &codes, n, &format!("{n} features, {rows} rows, k {k}"));
            }
        }
    }
}

#[test]
fn a_large_batch_matches_and_is_the_same_every_time() {
    let kernels = Transpose::new(gpu()).unwrap();
    let (rows, n, k) = (4096, 70_001, 64);
    let codes = HostCodes::random(7, rows, n, k, true);
    check(&kernels, &codes, n, "a large batch");
    let codes = HostCodes::random(8, 600, n, 32, true);
    let first = transpose(gpu(), &kernels, &codes, n).unwrap();
    for again in 1..20 {
        assert!(transpose(gpu(), &kernels, &codes, n).unwrap() == first, "run {again} differs from the first");
    }
}

#[test]
fn only_positive_values_count() {
    let kernels = Transpose::new(gpu()).unwrap();
    let mut codes = HostCodes::random(9, 300, 500, 4, false);
    for (entry, value) in codes.values.iter_mut().enumerate() {
        *value = [*value, 0.0, -0.0, -1.0, f32::NAN][entry % 5];
    }
    check(&kernels, &codes, 500, "zeros, negative values and NaN among them");
    codes.values.fill(0.0);
    check(&kernels, &codes, 500, "all zero");
}

#[test]
fn one_feature_of_every_row() {
    let kernels = Transpose::new(gpu()).unwrap();
    for (n, feature) in [(1, 0), (3000, 0), (3000, 2999), (256, 255), (65_536, 65_535)] {
        let codes = HostCodes { k: 1, features: vec![feature; 3000], values: vec![1.0; 3000] };
        check(&kernels, &codes, n, &format!("feature {feature} of {n}"));
    }
}
