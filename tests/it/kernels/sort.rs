use monosem::selftest::lists::Lists;
use monosem::selftest::sort::{expected, sort};
use monosem::selftest::tensors::cuts;

use super::gpu;

/// Asserts that lists are sorted as on the host, by as many workgroups as each kind of device takes, twice.
#[track_caller]
fn assert_sorted(name: &str, lists: &Lists, cuts: &[usize]) {
    let expected = expected(lists, cuts);
    for shares in [16, 256, 16] {
        let actual = sort(gpu(), shares, lists, cuts).unwrap();
        assert!(actual == expected, "{name}, {shares} shares, shards to {cuts:?}");
    }
}

#[test]
fn every_size_is_sorted_in_any_shards() {
    for (rows, n, per_row) in [
        // 8 bits sort 255 features, 9 take a second pass, 17 a third.
        (3, 1, [1, 0]),
        (40, 255, [7, 0]),
        (40, 256, [7, 3]),
        (40, 1025, [7, 3]),
        (9, 70_000, [40, 9]),
        // One pair more and less than a tile; some shares get one more.
        (255, 300, [1, 0]),
        (256, 300, [1, 0]),
        (257, 300, [1, 0]),
        (51, 300, [3, 2]),
        (333, 300, [13, 5]),
    ] {
        let lists = Lists::random(1, rows, n, per_row, false);
        for cuts in cuts(n) {
            assert_sorted(&format!("{rows} rows, {per_row:?} of {n}"), &lists, &cuts);
        }
    }
}

#[test]
fn equal_features_keep_their_order() {
    // Every entry is of one feature, so that the whole sort is a tie.
    let lists = Lists::random(1, 9000, 1, [1, 1], true);
    assert_sorted("one feature", &lists, &[1]);
    let mut lists = Lists::random(1, 2000, 400, [3, 2], true);
    lists.entries.iter_mut().for_each(|entry| entry.feature %= 3);
    assert_sorted("three features", &lists, &[400]);
}

#[test]
fn what_is_not_active_is_left_out() {
    let mut lists = Lists::random(1, 300, 2000, [4, 1], false);
    lists.entries.iter_mut().for_each(|entry| entry.flags = 0);
    assert_sorted("nothing is active", &lists, &[1024, 2000]);
    lists.entries[777].flags = 1;
    assert_sorted("one entry is active", &lists, &[1024, 2000]);
    lists.entries[777].feature = 1999;
    assert_sorted("the last feature alone", &lists, &[1024, 2000]);
    lists.entries.iter_mut().for_each(|entry| entry.flags = 1);
    assert_sorted("everything is active", &lists, &[1024, 2000]);
}

#[test]
fn lists_may_be_empty() {
    assert_sorted("no entries", &Lists::random(1, 0, 100, [3, 2], false), &[100]);
    assert_sorted("no list 0", &Lists::random(1, 50, 100, [0, 2], false), &[100]);
    assert_sorted("no list 1", &Lists::random(1, 50, 100, [2, 0], false), &[100]);
}
