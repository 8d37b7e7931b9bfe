use monosem::kernels::Center;
use monosem::reference;
use monosem::selftest::ELEMENTWISE;
use monosem::selftest::center::center;
use monosem::selftest::tensors::{AT_REST, bits, f64s, random};

use super::{assert_close, gpu};

const INPUT_NOT_FINITE: u32 = 1;

#[test]
fn every_size_matches_the_reference() {
    let kernel = Center::new(gpu()).unwrap();
    // The last has more quads than 65,535 groups of 64 take.
    for (rows, d) in [(0, 5), (1, 1), (1, 255), (1, 256), (1, 257), (7, 100), (65_535 * 4 + 3, 50)] {
        let (x, b_dec) = (random(1, rows * d), random(2, d));
        let (centred, guard) = center(gpu(), &kernel, &x, &b_dec, true).unwrap();
        let expected = reference::center(&f64s(&x), &f64s(&b_dec));
        assert_close(&format!("center {rows} x {d}"), &centred, &expected, ELEMENTWISE);
        assert_eq!(guard, AT_REST);
    }
    let x = random(3, 300);
    assert_eq!(bits(&center(gpu(), &kernel, &x, &random(4, 30), false).unwrap().0), bits(&x));
}

#[test]
fn what_is_not_finite_raises_the_guard_with_its_lowest_row() {
    let kernel = Center::new(gpu()).unwrap();
    let (rows, d) = (300, 37);
    for poison in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)] {
        for places in [&[(0, 0)][..], &[(299, 36)], &[(17, 3), (250, 0), (18, 36)]] {
            let mut x = random(1, rows * d);
            for (row, column) in places {
                x[row * d + column] = poison;
            }
            let lowest = places.iter().map(|(row, _)| *row as u32).min().unwrap();
            for subtract in [false, true] {
                let (_, guard) = center(gpu(), &kernel, &x, &random(2, d), subtract).unwrap();
                assert_eq!(guard, [INPUT_NOT_FINITE, !lowest], "{poison} at {places:?}");
            }
        }
    }
    for finite in [f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-40, -0.0] {
        let (_, guard) = center(gpu(), &kernel, &[finite; 40], &[0.0; 20], true).unwrap();
        assert_eq!(guard, AT_REST, "{finite}");
    }
}
