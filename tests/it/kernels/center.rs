use monosem::reference;
use monosem::selftest::ELEMENTWISE;
use monosem::selftest::center::center;
use monosem::selftest::tensors::{AT_REST, bits, f64s, random};

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
