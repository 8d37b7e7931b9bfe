use monosem::kernels::CodeGradients;
use monosem::reference;
use monosem::selftest::FOLD;
use monosem::selftest::code_gradients::code_gradients;
use monosem::selftest::tensors::{HostCodes, bits, f64s, random};

use super::{assert_close, coarse, gpu, rule_d};

#[test]
fn every_size_and_shard_matches_the_reference() {
    let kernel = CodeGradients::new(gpu()).unwrap();
    // The last has more entries than 65,535 groups of 64 take.
    for (rows, d, n, k) in [
        (0, 4, 8, 2),
        (1, 1, 1, 1),
        (9, 17, 2500, 7),
        (64, 100, 2500, 1),
        (65, 768, 1100, 3),
        (65_535 * 4 + 1, 3, 64, 16),
    ] {
        let codes = HostCodes::random(1, rows, n, k, false);
        let (g, w_dec) = (random(2, rows * d), random(3, n * d));
        let whole = code_gradients(gpu(), &kernel, &codes, &g, &w_dec, d, &[n]).unwrap();
        let expected = reference::code_gradients(&codes.reference(), &f64s(&g), &f64s(&w_dec), d);
        assert_close(&format!("code_gradients {rows} x {d} of {n}"), &whole, &expected, FOLD);
        if n > 2048 {
            let shards = code_gradients(gpu(), &kernel, &codes, &g, &w_dec, d, &[1024, 2048, n]).unwrap();
            assert_eq!(bits(&shards), bits(&whole));
        }
    }
}

#[test]
fn entries_without_a_value_are_left_as_they_are() {
    let kernel = CodeGradients::new(gpu()).unwrap();
    let codes = HostCodes { k: 4, features: vec![0, 1, 2, 3], values: vec![0.0, -0.0, 1.0, 0.0] };
    let result = code_gradients(gpu(), &kernel, &codes, &[2.0], &[5.0, 6.0, 7.0, 8.0], 1, &[4]).unwrap();
    assert_eq!(bits(&result), bits(&[0.0, 0.0, 14.0, 0.0]));
}

#[test]
fn sums_are_folded_by_rule_d() {
    let kernel = CodeGradients::new(gpu()).unwrap();
    let (d, n) = (300, 8);
    let codes = HostCodes { k: n, features: (0..8).collect(), values: vec![1.0; n] };
    let (g, w_dec) = (coarse(1, d), coarse(2, n * d));
    let expected: Vec<f32> = w_dec.chunks(d).map(|w| rule_d(&g, w)).collect();
    assert_eq!(bits(&code_gradients(gpu(), &kernel, &codes, &g, &w_dec, d, &[n]).unwrap()), bits(&expected));
}
