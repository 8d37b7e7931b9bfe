use monosem::reference;
use monosem::selftest::center::{center, layer_norm, normalized};
use monosem::selftest::tensors::{AT_REST, bits, f64s, random, stored};
use monosem::selftest::{ELEMENTWISE, FOLD};

use super::{assert_close, deterministic, gpu};

const INPUT_NOT_FINITE: u32 = 1;

#[test]
fn every_size_matches_the_reference() {
    // The last has more workgroups than one dimension of a dispatch takes.
    for (rows, d) in [(0, 4), (1, 1), (3, 255), (64, 256), (65, 257), (2 * 65_537, 5)] {
        let (x, b_dec) = (random(1, rows * d), random(2, d));
        let centred = center(gpu(), &x, &b_dec, true).unwrap();
        assert_close(
            &format!("center {rows} x {d}"),
            &centred.rows,
            &reference::center(&f64s(&x), &f64s(&b_dec)),
            ELEMENTWISE,
        );
        assert_eq!(centred.guard, AT_REST);
        assert_eq!(bits(&center(gpu(), &x, &b_dec, false).unwrap().rows), bits(&x));
    }
    let (x, b_dec) = (random(1, 50 * 100), random(2, 100));
    deterministic(|| bits(&center(gpu(), &x, &b_dec, true).unwrap().rows));
}

#[test]
fn an_input_that_is_not_finite_raises_the_guard_with_its_lowest_row() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for subtract in [false, true] {
            let (mut x, b_dec) = (random(1, 50 * 33), random(2, 33));
            for place in [40 * 33, 13 * 33 + 32, 14 * 33] {
                x[place] = poison;
            }
            assert_eq!(center(gpu(), &x, &b_dec, subtract).unwrap().guard, [INPUT_NOT_FINITE, !13], "{poison}");
        }
    }
}

#[test]
fn layer_norm_matches_the_reference_and_leaves_nothing_behind_a_row() {
    for (rows, d) in [(0, 4), (1, 2), (3, 127), (64, 128), (5, 1030), (2 * 65_537, 5)] {
        // Far from 0, as residual streams are.
        let x: Vec<f32> = random(1, rows * d).iter().map(|value| value + 3.0).collect();
        let b_dec = random(2, d);
        for subtract in [true, false] {
            let found = layer_norm(gpu(), &x, &b_dec, subtract).unwrap();
            let (expected, norms) = normalized(&x, &b_dec, subtract);
            assert_close(&format!("layer norm {rows} x {d}"), &found.rows, &expected, FOLD);
            assert_close(&format!("norms {rows} x {d}"), found.norms.as_flattened(), norms.as_flattened(), FOLD);
            assert_eq!(found.guard, AT_REST);
            for row in found.stored.chunks_exact(stored(d)) {
                assert!(row[d..].iter().all(|value| *value == 0.0), "{rows} x {d}");
            }
        }
    }
    let (x, b_dec) = (random(1, 50 * 100), random(2, 100));
    deterministic(|| bits(&layer_norm(gpu(), &x, &b_dec, true).unwrap().rows));
    // Rows whose values are all equal are divided by the epsilon alone.
    assert_eq!(layer_norm(gpu(), &[2.5; 30], &[0.0; 10], true).unwrap().rows, [0.0; 30]);
}

#[test]
fn layer_norm_finds_what_is_not_finite() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (mut x, b_dec) = (random(1, 50 * 33), random(2, 33));
        for place in [40 * 33, 13 * 33 + 32, 14 * 33] {
            x[place] = poison;
        }
        assert_eq!(layer_norm(gpu(), &x, &b_dec, true).unwrap().guard, [INPUT_NOT_FINITE, !13], "{poison}");
    }
}
