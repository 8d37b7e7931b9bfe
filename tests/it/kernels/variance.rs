use monosem::selftest::FOLD;
use monosem::selftest::tensors::{bits, pad, random};
use monosem::selftest::variance::{Case, ratio_of};

use super::{assert_close, deterministic, gpu, rule_b};

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

#[test]
fn differences_from_the_first_row_are_folded_by_rule_b() {
    for (rows, d) in [(1, 3), (8, 20), (255, 17), (257, 70), (600, 20)] {
        let case = Case::new(rows, d);
        let error = |at: usize| (case.sums[at] + case.b_dec[at % d]) - case.x[at];
        let of_error: Vec<f32> = (0..rows * d).map(error).collect();
        let found = case.find(gpu()).unwrap();
        for (actual, values) in found.row_blocks.iter().zip([&case.x, &of_error]) {
            let sum = |block: &[f32], column: usize| {
                let differences = block.chunks(d).map(|row| row[column] - values[column]);
                rule_b(differences.enumerate().map(|(row, difference)| (0, row, difference)))
            };
            let blocks = values.chunks(256 * d);
            let sums: Vec<f32> = blocks.flat_map(|block| (0..d).map(move |column| sum(block, column))).collect();
            assert_eq!(bits(actual), bits(&pad(&sums, d)), "{rows} x {d}");
        }
    }
}

#[test]
fn distances_are_folded_by_rule_b() {
    for rows in [1, 7, 256, 1000, 64 * 256, 64 * 256 + 300] {
        // Blocks nearly cancel, so that in any other order the sums would differ in more than their last bits.
        let distances = |seed| -> Vec<f32> {
            let large = random(seed + 1, 256);
            let sign = |row: usize| if row % 512 < 256 { 1e4 } else { -1e4 };
            let values = random(seed, rows).into_iter().enumerate();
            values.map(|(row, value)| value + 0.5 + sign(row) * large[row % 256]).collect()
        };
        let sum = |values: &[f32]| rule_b(values.iter().enumerate().map(|(row, value)| (0, row, *value)));
        let (of_rows, mut of_error) = (distances(1), distances(3));
        if sum(&of_error) < 0.0 {
            of_error.iter_mut().for_each(|value| *value = -*value);
        }
        let expected = sum(&of_rows) / sum(&of_error);
        let actual = ratio_of(gpu(), &of_rows, &of_error).unwrap();
        // A device's quotient need not be the nearest number.
        assert!((actual / expected - 1.0).abs() <= 4.0 * f32::EPSILON, "{rows} rows: {actual}, not {expected}");
    }
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
