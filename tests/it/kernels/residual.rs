use monosem::kernels::Residual;
use monosem::reference;
use monosem::selftest::residual::{active, residual};
use monosem::selftest::tensors::{AT_REST, HostCodes, bits, f64s, random};
use monosem::selftest::{ELEMENTWISE, FOLD};

use super::{assert_close, coarse, deterministic, gpu, rule_r};

const LOSS_NOT_FINITE: u32 = 2;

#[test]
fn every_size_matches_the_reference() {
    let kernel = Residual::new(gpu()).unwrap();
    // The last has more pairs of rows than one dimension of a dispatch has groups.
    for (rows, d, k) in
        [(0, 3, 1), (1, 1, 1), (2, 127, 31), (3, 128, 32), (5, 129, 33), (65, 768, 100), (2 * 65_535 + 1, 5, 1)]
    {
        let (x, x_hat) = (random(1, rows * d), random(2, rows * d));
        let codes = HostCodes::random(3, rows, 200, k, false);
        let batch = 3 * rows.max(1);
        let outcome = residual(gpu(), &kernel, &x, &x_hat, &codes.values, d, batch).unwrap();
        let expected = reference::residual(&f64s(&x_hat), &f64s(&x), d, batch);
        let [squared_error, dot, squared_norm, count] = &outcome.statistics;
        let name = |what| format!("residual {what} {rows} x {d}");
        assert_close(&name("gradient"), &outcome.gradient, &expected.gradient, ELEMENTWISE);
        assert_close(&name("squared error"), squared_error, &expected.squared_error, FOLD);
        assert_close(&name("dot"), dot, &expected.dot, FOLD);
        assert_close(&name("squared norm"), squared_norm, &expected.squared_norm, FOLD);
        assert_close(&name("active"), count, &active(&codes), 0.0);
        assert_eq!(outcome.guard, AT_REST);
    }
}

#[test]
fn the_same_bits_every_time() {
    let kernel = Residual::new(gpu()).unwrap();
    let (x, x_hat, values) = (random(1, 40 * 300), random(2, 40 * 300), random(3, 40 * 50));
    deterministic(|| {
        let outcome = residual(gpu(), &kernel, &x, &x_hat, &values, 300, 40).unwrap();
        bits(&[outcome.gradient, outcome.statistics.concat()].concat())
    });
}

#[test]
fn a_loss_that_is_not_finite_raises_the_guard_with_its_lowest_row() {
    let kernel = Residual::new(gpu()).unwrap();
    let (rows, d) = (50, 33);
    // f32::MAX squared overflows.
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for in_x in [false, true] {
            let (mut x, mut x_hat) = (random(1, rows * d), random(2, rows * d));
            for place in [40 * d, 13 * d + 32, 14 * d] {
                if in_x { x[place] = poison } else { x_hat[place] = poison }
            }
            let outcome = residual(gpu(), &kernel, &x, &x_hat, &vec![1.0; rows], d, rows).unwrap();
            assert_eq!(outcome.guard, [LOSS_NOT_FINITE, !13], "{poison}, in x: {in_x}");
        }
    }
}

#[test]
fn sums_are_folded_by_rule_r() {
    let kernel = Residual::new(gpu()).unwrap();
    let (rows, d) = (3, 700);
    let (x, x_hat) = (coarse(1, rows * d), coarse(2, rows * d));
    let [squared_error, dot, squared_norm, _] =
        residual(gpu(), &kernel, &x, &x_hat, &[1.0; 3], d, rows).unwrap().statistics;
    for (row, (x, x_hat)) in x.chunks(d).zip(x_hat.chunks(d)).enumerate() {
        let error: Vec<f32> = x_hat.iter().zip(x).map(|(x_hat, x)| x_hat - x).collect();
        let expected = [rule_r(&error, &error), rule_r(x, x_hat), rule_r(x_hat, x_hat)];
        assert_eq!(bits(&[squared_error[row], dot[row], squared_norm[row]]), bits(&expected));
    }
}
