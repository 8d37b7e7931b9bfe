use monosem::kernels::SCREEN_GROUP;
use monosem::selftest::rescore::Case;
use monosem::selftest::screen::{variants, violations};
use monosem::selftest::tensors::random;

use super::gpu;

#[test]
fn every_size_and_chunk_is_bounded_from_above_and_closely() {
    for variant in variants(gpu()) {
        for shape in [(1, 1, 1), (31, 5, 15), (33, 16, 17), (129, 100, 259), (300, 33, 1030), (9, 768, 65)] {
            let case = Case::new(shape);
            let allowed = case.allowed_bounds();
            for chunk in [case.n, 64, 192] {
                let bounds = case.screen(gpu(), variant, chunk).unwrap();
                assert_eq!(violations(&bounds, &allowed), [0, 0], "{variant}, {shape:?} in chunks of {chunk}");
            }
        }
    }
}

#[test]
fn rows_and_weights_of_every_size_are_bounded() {
    let (rows, d, n) = (40, 70, 200);
    let sizes = [1.0, 1e-9, 1e9, 1e-18, 1e15, 3e-5, 1e-30, 7e4];
    for variant in variants(gpu()) {
        let mut case = Case::new((rows, d, n));
        for (at, value) in case.x.iter_mut().enumerate() {
            // One element of each row is far larger than the others.
            *value *= sizes[at / d % sizes.len()] * if at % d == 7 { 3e4 } else { 1.0 };
        }
        for (at, value) in case.w_enc.iter_mut().enumerate() {
            *value *= sizes[at / d * 3 % sizes.len()] * if at % d % 5 == 0 { 1e-6 } else { 1.0 };
        }
        case.b_enc = random(5, n).iter().enumerate().map(|(at, b)| b * sizes[at * 5 % sizes.len()]).collect();
        let (bounds, allowed) = (case.screen(gpu(), variant, n).unwrap(), case.allowed_bounds());
        let [below, _] = violations(&bounds, &allowed);
        assert_eq!(below, 0, "{variant}");
    }
}

#[test]
fn the_margin_is_needed_where_all_products_are_rounded_one_way() {
    let (d, n) = (256, 16);
    let value = 1.0 + 2_f32.powi(-11) - 2_f32.powi(-20);
    let (x, w_enc, b_enc, norms) = (vec![value; d], vec![value; n * d], vec![0.0; n], vec![1.0; n]);
    let case = Case { rows: 1, d, n, x, w_enc, b_enc, norms };
    let allowed = case.allowed_bounds();
    // The product of what is left of both is d: nearly one whole margin below the key.
    let (key, most) = allowed[0];
    assert!(key - d as f64 > 0.8 * (most - key) / 2.0, "{key} {most}");
    for variant in variants(gpu()) {
        let bounds = case.screen(gpu(), variant, n).unwrap();
        assert_eq!(violations(&bounds, &allowed), [0, 0], "{variant}");
    }
}

#[test]
fn what_is_no_number_is_a_bound_above_all() {
    for variant in variants(gpu()) {
        let group = SCREEN_GROUP as usize;
        let mut case = Case::new((5, 20, 8 * group));
        case.w_enc[(group + 3) * 20 + 7] = f32::NAN;
        case.b_enc[2 * group + 1] = f32::INFINITY;
        case.w_enc[(3 * group) * 20] = f32::INFINITY;
        case.b_enc[4 * group..5 * group].fill(f32::NEG_INFINITY);
        case.norms[5 * group + 2] = f32::NAN;
        case.x[2 * 20 + 4] = f32::NAN;
        let bounds = case.screen(gpu(), variant, case.n).unwrap();
        for (row, bounds) in bounds.chunks_exact(8).enumerate() {
            let is_infinite: Vec<bool> = bounds.iter().map(|bound| *bound == f32::INFINITY).collect();
            let all = row == 2;
            assert_eq!(is_infinite, [all, true, true, true, true, true, all, all], "{variant}, row {row}: {bounds:?}");
        }
    }
}
