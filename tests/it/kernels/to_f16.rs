use monosem::kernels::{ToF16, half_quads, quads};
use monosem::reference;
use monosem::selftest::tensors::f64s;
use monosem::selftest::to_f16::{source, to_f16};

use super::gpu;

fn norm_of(row: &[f64]) -> f64 {
    row.iter().map(|value| value.powi(2)).sum::<f64>().sqrt()
}

#[test]
fn every_size_is_scaled_and_rounded_to_the_nearest() {
    let kernel = ToF16::new(gpu()).unwrap();
    for (rows, d, range) in [(0, 3, (0, 0)), (1, 1, (0, 1)), (8, 127, (0, 8)), (9, 128, (4, 5)), (33, 385, (2, 30))] {
        let source = source(rows, d);
        let (first, count) = range;
        let actual = to_f16(gpu(), &kernel, &source, d, range).unwrap();
        let expected = reference::to_f16(&f64s(&source[first * d..(first + count) * d]), d);
        let width = half_quads(quads(d)) as usize * 4;
        assert_eq!(actual.values.len(), count * width);
        for (row, (values, unscale)) in expected.iter().enumerate() {
            let halves = f64s(&actual.values[row * width..(row + 1) * width]);
            assert_eq!(halves[..d], values[..], "row {row} of {rows} x {d}");
            assert!(halves[d..].iter().all(|padding| *padding == 0.0));
            let [scale, norm_bound, lost_bound, _] = actual.bounds[row].map(f64::from);
            assert_eq!(scale, *unscale);
            let source = f64s(&source[(first + row) * d..][..d]);
            let lost: Vec<f64> = source.iter().zip(values).map(|(value, half)| value - half * unscale).collect();
            for (bound, row) in [(norm_bound, &source), (lost_bound, &lost)] {
                let norm = norm_of(row);
                // A row of so large a norm is not bounded at all.
                let is_beyond = *unscale == 0.0 || norm_bound == f64::INFINITY && norm_of(&source) > 2_f64.powi(61);
                let largest = if is_beyond { f64::INFINITY } else { norm * 1.001 + 1e-14 * unscale };
                assert!((norm * (1.0 - 1e-9)..=largest).contains(&bound), "{bound:e} bounds {norm:e}");
            }
        }
    }
}

#[test]
fn what_f16_cannot_hold_has_a_bound_that_covers_it() {
    let kernel = ToF16::new(gpu()).unwrap();
    let bounds_of = |row: &[f32]| {
        let halves = to_f16(gpu(), &kernel, row, row.len(), (0, 1)).unwrap();
        assert!(halves.values.iter().all(|value| value.is_finite()), "{row:?}");
        [halves.bounds[0][1], halves.bounds[0][2]]
    };
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(bounds_of(&[1.0, poison, 2.0]), [f32::INFINITY; 2]);
    }
    assert_eq!(bounds_of(&[0.0, -0.0]), [0.0; 2]);
    for tiny in [1e-25_f32, 1e-38, 1e-42] {
        let [norm, lost] = bounds_of(&[tiny; 100]);
        // A driver may take a subnormal for 0.
        let least = if tiny.is_normal() { 10.0 * tiny } else { 0.0 };
        assert!(norm >= least && lost >= least && norm.is_finite(), "{norm:e}, {lost:e} for {tiny:e}");
    }
}
