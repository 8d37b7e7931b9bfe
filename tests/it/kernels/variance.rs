use monosem::selftest::FOLD;
use monosem::selftest::variance::Case;

use super::{assert_close, deterministic, gpu};

#[test]
fn every_size_matches_the_reference() {
    for (rows, d) in [(2, 1), (255, 17), (256, 127), (257, 128), (600, 129), (2 * 4096 + 3, 5)] {
        let case = Case::new(rows, d);
        let found = case.find(gpu()).unwrap();
        assert_close(&format!("distances {rows} x {d}"), &found.distances, &case.distances(), FOLD);
        assert_close(&format!("errors {rows} x {d}"), &found.error_distances, &case.error_distances(), FOLD);
        assert_close(&format!("ratio {rows} x {d}"), &[found.ratio], &[case.ratio()], FOLD);
    }
    let case = Case::new(300, 50);
    deterministic(|| {
        let found = case.find(gpu()).unwrap();
        found.distances.iter().chain(&found.error_distances).chain([&found.ratio]).map(|x| x.to_bits()).collect()
    });
}

/// Sums of f32 about the origin would lose all digits of it: the values lie 10⁴ times their spread away.
#[test]
fn an_offset_of_all_rows_costs_no_digits() {
    let case = Case::new(700, 33).far_from_the_origin(5000.0);
    let found = case.find(gpu()).unwrap();
    let sum: f64 = found.distances.iter().map(|&distance| f64::from(distance)).sum();
    let expected: f64 = case.distances().iter().sum();
    assert!((sum - expected).abs() <= 1e-6 * expected, "{sum}, not {expected}");
}

#[test]
fn equal_rows_have_no_variance() {
    let (rows, d) = (300, 20);
    let mut case = Case::new(rows, d);
    case.x = case.x[..d].repeat(rows);
    assert!(case.find(gpu()).unwrap().distances.iter().all(|&distance| distance == 0.0));
}

#[test]
fn without_any_error_the_ratio_is_zero() {
    let mut case = Case::new(40, 20);
    (case.sums, case.b_dec) = (case.x.clone(), vec![0.0; 20]);
    assert_eq!(case.find(gpu()).unwrap().ratio, 0.0);
}
