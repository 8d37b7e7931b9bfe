use monosem::gpu::shaders::center::{Params, main::Bindings};
use monosem::kernels::{Center, quads};
use monosem::reference;

use super::{AT_REST, ELEMENTWISE, Tensor, assert_close, bits, f64s, gpu, pad, random, run, stored, unpad};

const INPUT_NOT_FINITE: u32 = 1;

/// Centred rows and the guard.
fn center(kernel: &Center, x: &[f32], b_dec: &[f32], subtract: bool) -> (Vec<f32>, Vec<u32>) {
    let d = b_dec.len();
    let rows = x.len() / d;
    let (x, b_dec) = (Tensor::new(&pad(x, d)), Tensor::new(&pad(b_dec, d)));
    let (centred, guard) = (Tensor::poisoned(rows * stored(d)), Tensor::new(&AT_REST));
    let params = Params { rows: rows as u32, quads: quads(d), subtract: subtract.into() };
    run(|recording| {
        let bindings = Bindings { x: &x, b_dec: &b_dec, centred: &centred, guard: &guard, params };
        kernel.record(recording, bindings);
    });
    (unpad(&centred.read::<f32>(), d), guard.read())
}

#[test]
fn every_size_matches_the_reference() {
    let kernel = Center::new(gpu()).unwrap();
    // The last has more quads than 65,535 groups of 64 take.
    for (rows, d) in [(0, 5), (1, 1), (1, 255), (1, 256), (1, 257), (7, 100), (65_535 * 4 + 3, 50)] {
        let (x, b_dec) = (random(1, rows * d), random(2, d));
        let (centred, guard) = center(&kernel, &x, &b_dec, true);
        let expected = reference::center(&f64s(&x), &f64s(&b_dec));
        assert_close(&format!("center {rows} x {d}"), &centred, &expected, ELEMENTWISE);
        assert_eq!(guard, AT_REST);
    }
    let x = random(3, 300);
    assert_eq!(bits(&center(&kernel, &x, &random(4, 30), false).0), bits(&x));
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
                let (_, guard) = center(&kernel, &x, &random(2, d), subtract);
                assert_eq!(guard, [INPUT_NOT_FINITE, !lowest], "{poison} at {places:?}");
            }
        }
    }
    for finite in [f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-40, -0.0] {
        let (_, guard) = center(&kernel, &[finite; 40], &[0.0; 20], true);
        assert_eq!(guard, AT_REST, "{finite}");
    }
}
