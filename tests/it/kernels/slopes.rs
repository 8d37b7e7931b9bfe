use monosem::selftest::FOLD;
use monosem::selftest::slopes::Case;
use monosem::selftest::tensors::{bits, cuts};

use super::{assert_close, coarse, gpu, rule_d};

#[test]
fn every_size_matches_the_reference_in_any_shards_by_any_number_of_threads() {
    for (rows, d, n, per_row) in [
        (1, 1, 1, [1, 0]),
        (63, 16, 40, [1, 0]),
        (64, 17, 40, [1, 0]),
        (65, 33, 40, [1, 1]),
        (50, 100, 2500, [7, 5]),
        (50, 100, 2500, [7, 0]),
        (9, 768, 40, [2, 3]),
    ] {
        let case = Case::new(rows, d, n, per_row);
        let whole = case.slopes(gpu(), 64, &[n]).unwrap();
        assert_close(&format!("slopes {rows} x {d}, {per_row:?} of {n}"), &whole.p, &case.expected(), FOLD);
        let carried = case.carried();
        assert_eq!(whole.places, carried.places);
        assert_eq!((bits(&whole.a0), bits(&whole.a1)), (bits(&carried.a0), bits(&carried.a1)));
        for cuts in cuts(n) {
            for threads in [64, 128, 4096 * 64 + 64] {
                assert_eq!(case.slopes(gpu(), threads, &cuts).unwrap(), whole, "{cuts:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn products_are_folded_by_rule_d() {
    let (rows, d, n) = (20, 100, 300);
    let mut case = Case::new(rows, d, n, [5, 3]);
    case.batch.gradients = [coarse(1, rows * d), coarse(2, rows * d)];
    case.w_dec = coarse(3, n * d);
    let product = |entry: &monosem::selftest::lists::HostEntry| {
        let g = &case.batch.gradients[entry.list as usize][entry.row as usize * d..][..d];
        rule_d(g, &case.w_dec[entry.feature as usize * d..][..d])
    };
    let expected: Vec<f32> = case.sorted().map(product).collect();
    assert_eq!(bits(&case.slopes(gpu(), 64, &[n]).unwrap().p), bits(&expected));
}
