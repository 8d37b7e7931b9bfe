use monosem::engine::parameters::CHUNKS;
use monosem::reference;
use monosem::selftest::FOLD;
use monosem::selftest::clip::clip;
use monosem::selftest::tensors::{AT_REST, f64s, random};

use super::{assert_close, deterministic, gpu, rule_r, rule_t};

const GRADIENT_NOT_FINITE: u32 = 4;

#[test]
fn every_size_and_limit_matches_the_reference() {
    for (chunks, d) in [(0, 1), (1, 1), (3, 127), (31, 128), (63, 129), (64, 5), (64, 768)] {
        let squares: Vec<f32> = random(1, chunks).into_iter().map(f32::abs).collect();
        let gradient = random(2, d);
        for limit in [0.0, 1e-3, 1.0, 20.0, 1e6] {
            let actual = clip(gpu(), &squares, &gradient, limit).unwrap();
            let expected = reference::clip(&f64s(&squares), &f64s(&gradient), (limit > 0.0).then_some(limit.into()));
            assert_close("clip norm", &[actual.norm], &[expected.norm], FOLD);
            assert_close("clip coefficient", &[actual.coefficient], &[expected.coefficient], FOLD);
            assert!(limit > 0.0 || actual.coefficient == 1.0);
            assert_eq!(actual.guard, AT_REST);
        }
        deterministic(|| {
            let clipped = clip(gpu(), &squares, &gradient, 1.0).unwrap();
            vec![clipped.norm.to_bits(), clipped.coefficient.to_bits()]
        });
    }
    let nothing = clip(gpu(), &[0.0; 8], &[0.0; 20], 1.0).unwrap();
    assert_eq!((nothing.norm, nothing.coefficient, nothing.guard), (0.0, 1.0, AT_REST.to_vec()));
}

#[test]
fn sums_are_folded_by_rules_t_and_r() {
    // Whichever way a device rounds a root, these differ in their first digits: 64 in the tree, 80 from first to last.
    let large = (1 << 26) as f32;
    let squares = [large, 3.0, -large, 5.0].repeat(CHUNKS as usize / 4);
    assert_eq!(rule_t(&squares), 64.0);
    assert_close("norm by rule T", &[clip(gpu(), &squares, &[0.0], 0.0).unwrap().norm], &[8.0], FOLD);
    // The small ones share a lane, and meet the large one in the end.
    let mut gradient = vec![0.0_f32; 128 * 40];
    gradient.chunks_mut(128).for_each(|columns| columns[1] = 1.0);
    gradient[0] = 8192.0;
    let sum = f64::from(rule_r(&gradient, &gradient));
    assert_eq!(sum, f64::from(1 << 26) + 40.0);
    assert_close(
        "norm by rule R",
        &[clip(gpu(), &[-(1 << 26) as f32], &gradient, 0.0).unwrap().norm],
        &[40_f64.sqrt()],
        FOLD,
    );
}

#[test]
fn a_norm_that_is_not_finite_raises_the_guard() {
    for (squares, gradient) in [
        (vec![1.0, f32::NAN], vec![1.0; 5]),
        (vec![f32::INFINITY], vec![1.0; 5]),
        (vec![f32::MAX; 2], vec![1.0; 5]),
        (vec![1.0; 64], vec![1.0, 2.0, f32::NAN]),
        (vec![1.0], vec![f32::MAX]),
    ] {
        for limit in [0.0, 1.0] {
            let clipped = clip(gpu(), &squares, &gradient, limit).unwrap();
            assert_eq!(clipped.guard[0], GRADIENT_NOT_FINITE, "{squares:?}, {gradient:?}");
        }
    }
}
