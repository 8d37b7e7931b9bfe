use monosem::selftest::lists::Lists;
use monosem::selftest::mark::{expected, mark};
use monosem::selftest::tensors::cuts;

use super::gpu;

#[test]
fn every_size_is_marked_in_any_shards() {
    // The last has more workgroups than one dimension of a dispatch takes.
    for (rows, n, k) in [(1, 1, 1), (9, 40, 7), (64, 1024, 1), (65, 1025, 1), (20, 2500, 9), (64 * 4096 + 3, 300, 1)] {
        let lists = Lists::random(1, rows, n, [k, 1], false);
        for cuts in cuts(n) {
            let name = format!("{rows} rows, {k} of {n}, {cuts:?}");
            assert!(mark(gpu(), &lists, &cuts).unwrap() == expected(&lists), "{name}");
        }
    }
}
