use monosem::selftest::residual::{ACTIVE, Case, Target};
use monosem::selftest::tensors::{AT_REST, bits};
use monosem::selftest::{ELEMENTWISE, FOLD};

use super::{assert_close, coarse, deterministic, gpu, rule_r};

const LOSS_NOT_FINITE: u32 = 2;

#[test]
fn every_size_and_variant_matches_the_reference() {
    // The last has more workgroups than one dimension of a dispatch takes.
    for (rows, d) in [(0, 4), (1, 1), (2, 127), (3, 128), (5, 129), (65, 768), (2 * 4096 + 1, 5)] {
        let (plain, normal) = (Case::new(rows, d), Case::new(rows, d).with_row_norms());
        for (case, target) in [(&plain, Target::Input), (&plain, Target::Error), (&normal, Target::Input)] {
            let expected = case.expected(target);
            let is_normal = case.row_norms.is_some();
            for evaluated in [false, true] {
                let outcome = case.residual(gpu(), target, evaluated).unwrap();
                let name = |what| format!("residual {what} {rows} x {d}, {target:?}, {is_normal}, {evaluated}");
                let [squared_error, dot, squared_norm, active] = &outcome.statistics;
                assert_close(&name("gradient"), &outcome.gradient, &expected.gradient, ELEMENTWISE);
                assert_close(&name("squared error"), squared_error, &expected.squared_error, FOLD);
                if evaluated {
                    assert_close(&name("dot"), dot, &expected.dot, FOLD);
                    assert_close(&name("squared norm"), squared_norm, &expected.squared_norm, FOLD);
                } else {
                    assert!(dot.iter().chain(squared_norm).all(|value| *value == 0.0));
                }
                assert!(active.iter().all(|active| *active == ACTIVE));
                assert_eq!(outcome.guard, AT_REST);
            }
        }
    }
}

#[test]
fn the_same_bits_every_time() {
    let case = Case::new(40, 300);
    for target in [Target::Input, Target::Error] {
        deterministic(|| {
            let outcome = case.residual(gpu(), target, true).unwrap();
            bits(&[outcome.gradient, outcome.statistics.concat()].concat())
        });
    }
}

#[test]
fn a_loss_that_is_not_finite_raises_the_guard_with_its_lowest_row() {
    let (rows, d) = (50, 33);
    // f32::MAX squared overflows.
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for in_x in [false, true] {
            let mut case = Case::new(rows, d);
            let poisoned = if in_x { &mut case.x } else { &mut case.sums };
            for place in [40 * d, 13 * d + 32, 14 * d] {
                poisoned[place] = poison;
            }
            for target in [Target::Input, Target::Error] {
                let outcome = case.residual(gpu(), target, false).unwrap();
                assert_eq!(outcome.guard, [LOSS_NOT_FINITE, !13], "{poison}, in x: {in_x}");
            }
        }
    }
}

#[test]
fn sums_are_folded_by_rule_r() {
    let (rows, d) = (3, 700);
    let mut case = Case::new(rows, d);
    (case.x, case.sums, case.b_dec) = (coarse(1, rows * d), coarse(2, rows * d), vec![0.0; d]);
    let [squared_error, dot, squared_norm, _] = case.residual(gpu(), Target::Input, true).unwrap().statistics;
    for (row, (x, x_hat)) in case.x.chunks(d).zip(case.sums.chunks(d)).enumerate() {
        let error: Vec<f32> = x_hat.iter().zip(x).map(|(x_hat, x)| x_hat - x).collect();
        let expected = [rule_r(&error, &error), rule_r(x, x_hat), rule_r(x_hat, x_hat)];
        assert_eq!(bits(&[squared_error[row], dot[row], squared_norm[row]]), bits(&expected));
    }
}
