use monosem::reference;
use monosem::selftest::FOLD;
use monosem::selftest::norms::norms;
use monosem::selftest::tensors::{bits, f64s, random};

use super::{assert_close, deterministic, gpu, rule_r};

#[test]
fn every_size_matches_the_reference() {
    // The last has more workgroups than one dimension of a dispatch takes.
    for (count, d) in [(1, 1), (2, 127), (3, 128), (63, 129), (65, 768), (2 * 4096 + 3, 5)] {
        let w_dec = random(1, count * d);
        let actual = norms(gpu(), &w_dec, d).unwrap();
        assert_close(&format!("norms {count} x {d}"), &actual, &reference::norms(&f64s(&w_dec), d), FOLD);
    }
    let w_dec = random(1, 33 * 300);
    deterministic(|| bits(&norms(gpu(), &w_dec, 300).unwrap()));
}

#[test]
fn squares_are_folded_by_rule_r() {
    // A sum of squares that no other order has: of 2^12 and many smaller by half an ulp.
    let mut w_dec = vec![1.0_f32; 700];
    w_dec[0] = 4096.0;
    w_dec[300] = 4095.0;
    let norm = norms(gpu(), &w_dec, 700).unwrap()[0];
    let expected = rule_r(&w_dec, &w_dec).sqrt();
    assert!((norm - expected).abs() <= 2.0 * f32::EPSILON * expected, "{norm}, not {expected}");
}
