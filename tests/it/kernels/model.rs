use monosem::selftest::model::{DecoderBias, three_steps};
use monosem::selftest::tensors::{AT_REST, random};
use monosem::selftest::update::{MOMENTS, PARAMETERS};

use super::{assert_close, gpu};

const PARAMETER_NOT_FINITE: u32 = 8;

#[test]
fn three_steps_match_the_reference() {
    for d in [1, 17, 255, 256, 257, 800] {
        let (actual, [values, m, v]) = three_steps(gpu(), d).unwrap();
        assert_close(&format!("model, d {d}"), &actual.values, &values, PARAMETERS);
        assert_close(&format!("model m, d {d}"), &actual.m, &m, MOMENTS);
        assert_close(&format!("model v, d {d}"), &actual.v, &v, MOMENTS);
        assert_eq!(actual.guard, AT_REST);
    }
}

#[test]
fn a_raised_guard_keeps_every_bit_but_not_one_that_an_update_raised() {
    let before = DecoderBias::new(&random(1, 40));
    for (status, is_kept) in [(1, true), (2, true), (4, true), (8, false), (10, true)] {
        let mut bias = DecoderBias { guard: vec![status, 0], ..before.clone() };
        bias.update(gpu(), &random(2, 40), 1, 1.0).unwrap();
        assert_eq!(bias.values == before.values && bias.m == before.m && bias.v == before.v, is_kept, "{status}");
        assert_eq!(bias.guard, [status, 0]);
    }
}

#[test]
fn a_parameter_that_is_not_finite_raises_the_guard() {
    let mut bias = DecoderBias::new(&random(1, 40));
    bias.values[33] = f32::INFINITY;
    bias.update(gpu(), &random(2, 40), 1, 1.0).unwrap();
    assert_eq!(bias.guard[0], PARAMETER_NOT_FINITE);
}
