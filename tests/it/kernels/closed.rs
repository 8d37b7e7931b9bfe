use monosem::selftest::FOLD;
use monosem::selftest::closed::Case;
use monosem::selftest::tensors::{bits, cuts};

use super::{assert_close, gpu};

#[test]
fn every_size_matches_the_reference_in_any_shards() {
    for (rows, d, n) in [(1, 1, 1), (20, 33, 65), (300, 129, 40), (7, 300, 2500)] {
        let case = Case::new(rows, d, n);
        for of_dead in [false, true] {
            let whole = case.sums(gpu(), of_dead, &[n]).unwrap();
            for (number, (actual, expected)) in whole.iter().zip(case.expected(of_dead)).enumerate() {
                assert_close(&format!("sum {number}, {rows} x {d}, {n}, {of_dead}"), actual, &expected, FOLD);
            }
            for cuts in cuts(n) {
                let cut = case.sums(gpu(), of_dead, &cuts).unwrap();
                assert_eq!(cut.map(|sums| bits(&sums)), whole.each_ref().map(|sums| bits(sums)), "{cuts:?}");
            }
        }
    }
}
