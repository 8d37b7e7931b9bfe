use monosem::gpu::Buffer;
use monosem::kernels::{Codes, Runs, Transpose};
use monosem::reference;

use super::{HostCodes, Tensor, block_bounds, gpu, run};

/// The runs of `codes`; what lies behind the last run's end in `entries` is left out.
fn transpose(kernels: &Transpose, codes: &HostCodes, n: usize) -> (reference::Runs, Vec<u32>) {
    let rows = codes.features.len() / codes.k;
    let (features, values) = (Tensor::new(&codes.features), Tensor::new(&codes.values));
    let device_codes =
        Codes { k: codes.k as u32, features: features.clone(), values: values.clone(), keys: values.clone() };
    let mut runs = Runs::new(gpu(), rows as u32, codes.k as u32, n as u32).unwrap();
    let words = |buffer: &Buffer| buffer.bytes() as usize / 4;
    let [features, starts, entries, count, bounds] =
        [&runs.features, &runs.starts, &runs.entries, &runs.count, &runs.block_bounds]
            .map(|buffer| Tensor::poisoned(words(buffer)));
    runs.features = features.clone();
    runs.starts = starts.clone();
    runs.entries = entries.clone();
    runs.count = count.clone();
    runs.block_bounds = bounds.clone();
    run(|recording| kernels.record(recording, &device_codes, rows as u32, &runs));

    let count = count.read::<u32>()[0] as usize;
    let (mut features, mut starts, mut entries) = (features.read(), starts.read(), entries.read());
    assert!(count <= runs.capacity() as usize);
    let mut all: Vec<u32> = entries.clone();
    all.truncate(codes.features.len());
    all.sort_unstable();
    assert!(all.iter().enumerate().all(|(at, entry)| at as u32 == *entry), "an entry was lost");
    features.truncate(count);
    // Nobody looks at the starts of no runs.
    starts.truncate(count + 1);
    if count == 0 {
        starts = vec![0];
    }
    entries.truncate(starts[count] as usize);
    let mut bounds: Vec<u32> = bounds.read();
    bounds.truncate(n.div_ceil(1024) + 1);
    (reference::Runs { features, starts, entries }, bounds)
}

fn check(kernels: &Transpose, codes: &HostCodes, n: usize, what: &str) {
    let expected = reference::transpose(&codes.reference(), n);
    let (runs, bounds) = transpose(kernels, codes, n);
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
    let first = transpose(&kernels, &codes, n);
    for again in 1..20 {
        assert!(transpose(&kernels, &codes, n) == first, "run {again} differs from the first");
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
