use monosem::selftest::FOLD;
use monosem::selftest::variance::Case;

use super::{assert_close, deterministic, gpu};

#[test]
fn every_size_matches_the_reference() {
    for (rows, d) in [(2, 1), (255, 17), (256, 127), (257, 128), (600, 129), (2 * 4096 + 3, 5)] {
        let case = Case::new(rows, d);
        assert_close(&format!("variance {rows} x {d}"), &[case.ratio(gpu()).unwrap()], &[case.expected()], FOLD);
    }
    let case = Case::new(300, 50);
    deterministic(|| vec![case.ratio(gpu()).unwrap().to_bits()]);
}

#[test]
fn without_any_error_it_is_zero() {
    let mut case = Case::new(40, 20);
    (case.sums, case.b_dec) = (case.x.clone(), vec![0.0; 20]);
    assert_eq!(case.ratio(gpu()).unwrap(), 0.0);
}
