use monosem::kernels::Clip;
use monosem::reference;
use monosem::selftest::FOLD;
use monosem::selftest::clip::clip;
use monosem::selftest::tensors::{AT_REST, bits, f64s, random};

use super::{assert_close, deterministic, gpu};

const GRADIENT_NOT_FINITE: u32 = 4;

#[test]
fn every_size_and_limit_matches_the_reference() {
    let kernel = Clip::new(gpu()).unwrap();
    for (blocks, d) in [(0, 1), (1, 1), (3, 127), (127, 128), (128, 129), (129, 5), (5000, 768)] {
        let squares: Vec<f32> = random(1, blocks).into_iter().map(f32::abs).collect();
        let b_dec = random(2, d);
        for limit in [0.0, 1e-3, 1.0, 20.0, 1e6] {
            let (actual, guard) = clip(gpu(), &kernel, &squares, &b_dec, limit).unwrap();
            let expected = reference::clip(&f64s(&squares), &f64s(&b_dec), (limit > 0.0).then_some(f64::from(limit)));
            assert_close("clip norm", &actual[..1], &[expected.norm], FOLD);
            assert_close("clip coefficient", &actual[1..], &[expected.coefficient], FOLD);
            assert!(limit > 0.0 || actual[1] == 1.0);
            assert_eq!(guard, AT_REST);
        }
        deterministic(|| bits(&clip(gpu(), &kernel, &squares, &b_dec, 1.0).unwrap().0));
    }
    let (nothing, guard) = clip(gpu(), &kernel, &[0.0; 8], &[0.0; 20], 1.0).unwrap();
    assert_eq!((nothing, guard), (vec![0.0, 1.0], AT_REST.to_vec()));
}

#[test]
fn a_norm_that_is_not_finite_raises_the_guard() {
    let kernel = Clip::new(gpu()).unwrap();
    for (squares, b_dec) in [
        (vec![1.0, f32::NAN], vec![1.0; 5]),
        (vec![f32::INFINITY], vec![1.0; 5]),
        (vec![f32::MAX; 2], vec![1.0; 5]),
        (vec![1.0; 300], vec![1.0, 2.0, f32::NAN]),
        (vec![1.0], vec![f32::MAX]),
    ] {
        for limit in [0.0, 1.0] {
            let (_, guard) = clip(gpu(), &kernel, &squares, &b_dec, limit).unwrap();
            assert_eq!(guard[0], GRADIENT_NOT_FINITE, "{squares:?}, {b_dec:?}");
        }
    }
}
