use monosem::selftest::count::{count, expected};
use monosem::selftest::lists::Lists;

use super::gpu;

#[test]
fn every_size_matches_the_reference() {
    // The last has more workgroups than one dimension of a dispatch takes.
    for (rows, n, k) in [(1, 1, 1), (63, 40, 7), (64, 40, 1), (65, 40, 40), (300, 2500, 33), (64 * 4096 + 3, 9, 1)] {
        let lists = Lists::random(1, rows, n, [k, 2.min(n)], false);
        assert_eq!(count(gpu(), &lists).unwrap(), expected(&lists), "{rows} rows, {k} of {n}");
    }
}

#[test]
fn a_row_without_active_entries_counts_none() {
    let mut lists = Lists::random(1, 70, 30, [4, 0], false);
    lists.entries.iter_mut().for_each(|entry| entry.flags = 0);
    assert_eq!(count(gpu(), &lists).unwrap(), vec![[0.0; 4]; 70]);
}
