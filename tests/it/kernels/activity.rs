use monosem::kernels::Activity;
use monosem::reference;
use monosem::selftest::activity::{Case, activity};
use monosem::selftest::tensors::AT_REST;

use super::gpu;

#[test]
fn every_size_and_shard_matches_the_reference() {
    let kernels = Activity::new(gpu()).unwrap();
    for (rows, n, k) in [(0, 70, 1), (1, 1, 1), (40, 63, 3), (40, 64, 3), (40, 65, 3), (600, 2500, 20)] {
        let case = Case::new(rows, n, k);
        let expected = case.expected();
        let cuts: &[&[usize]] = if n > 2048 { &[&[n], &[1024, 2048, n]] } else { &[&[n]] };
        for cuts in cuts {
            let actual = case.activity(gpu(), &kernels, cuts).unwrap();
            assert!(actual == expected, "{rows} rows, {n} features, shards to {cuts:?}");
        }
    }
}

#[test]
fn a_feature_is_dead_after_exactly_the_window() {
    let kernels = Activity::new(gpu()).unwrap();
    let none = reference::Runs { features: vec![], starts: vec![0], entries: vec![] };
    for (last_fired, dead) in [(90, 1), (91, 0), (0, 1), (100, 0)] {
        let (_, _, counted) =
            activity(gpu(), &kernels, &none, (&[last_fired], &[0]), (100, 10), &[1], AT_REST).unwrap();
        assert_eq!(counted, dead, "last fired in step {last_fired}");
    }
}

#[test]
fn a_full_counter_stays_full() {
    let kernels = Activity::new(gpu()).unwrap();
    let runs = reference::Runs { features: vec![0, 1, 2], starts: vec![0, 5, 10, 15], entries: (0..15).collect() };
    let before = [u32::MAX - 5, u32::MAX - 4, u32::MAX];
    let (_, fired, _) = activity(gpu(), &kernels, &runs, (&[0; 3], &before), (1, 9), &[3], AT_REST).unwrap();
    assert_eq!(fired, [u32::MAX; 3]);
}

#[test]
fn a_raised_guard_keeps_the_records() {
    let kernels = Activity::new(gpu()).unwrap();
    let runs = reference::Runs { features: vec![1], starts: vec![0, 2], entries: vec![0, 1] };
    let (last_fired, fired, _) = activity(gpu(), &kernels, &runs, (&[3, 4], &[5, 6]), (9, 9), &[2], [1, 0]).unwrap();
    assert_eq!((last_fired, fired), (vec![3, 4], vec![5, 6]));
}
