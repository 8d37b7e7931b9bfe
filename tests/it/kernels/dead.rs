use monosem::selftest::dead::Case;
use monosem::selftest::tensors::cuts;

use super::gpu;

#[test]
fn every_size_and_form_matches_the_reference_in_any_shards() {
    for (n, sparsity) in
        [(1, 1), (255, 2), (256, 2), (257, 300), (1023, 1), (1024, 1), (1025, 1), (2500, 3), (5000, 300)]
    {
        for with_this_batch in [false, true] {
            let case = Case::new(n, sparsity, with_this_batch);
            for cuts in cuts(n) {
                let name = format!("{n} features, one of {sparsity}, with this batch {with_this_batch}, {cuts:?}");
                assert_eq!(case.find(gpu(), &cuts).unwrap(), case.expected(&cuts), "{name}");
            }
        }
    }
}

#[test]
fn more_dead_features_than_there_is_room_for_raise_the_guard() {
    let case = Case::new(2500, 3, false);
    let dead = case.dead().len() as u32;
    for (room, raised) in [(0, true), (dead - 1, true), (dead, false), (dead + 1, false)] {
        let case = Case { room, ..Case::new(2500, 3, false) };
        let found = case.find(gpu(), &[1024, 2500]).unwrap();
        assert_eq!((found.guard != 0, &found), (raised, &case.expected(&[1024, 2500])), "room for {room} of {dead}");
    }
}

#[test]
fn more_blocks_than_threads_are_counted() {
    let case = Case::new(300 * 1024 + 7, 50, false);
    let cuts = [100 * 1024, case.last_fired.len()];
    assert_eq!(case.find(gpu(), &cuts).unwrap(), case.expected(&cuts));
}

#[test]
fn shards_and_rows_may_have_none() {
    for with_this_batch in [false, true] {
        let mut case = Case::new(2500, 1, with_this_batch);
        case.marks.iter_mut().flatten().for_each(|mark| *mark = 0);
        let dead_in = |case: &mut Case, features: std::ops::Range<usize>| {
            case.last_fired.iter_mut().for_each(|last| *last = case.step - 1);
            case.last_fired[features].iter_mut().for_each(|last| *last = 1);
        };
        for features in [0..0, 1024..2048, 2499..2500, 0..1, 1023..1025] {
            dead_in(&mut case, features.clone());
            for cuts in [vec![2500], vec![1024, 2048, 2500]] {
                let found = case.find(gpu(), &cuts).unwrap();
                assert_eq!(found, case.expected(&cuts), "{features:?}, {cuts:?}");
                assert_eq!(found.found as usize, features.len());
            }
        }
    }
}

#[test]
fn what_this_batch_fires_is_dead_in_one_form_only() {
    let mut case = Case::new(10, 1, true);
    // The window is over with this step in one form, and with the step before in the other.
    case.last_fired = vec![case.step - case.window; 10];
    case.marks = Some((0..10).map(|feature| if feature == 3 { case.step } else { 0 }).collect());
    assert_eq!(case.find(gpu(), &[10]).unwrap().dead, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    case.marks = None;
    assert_eq!(case.find(gpu(), &[10]).unwrap().dead, [0_u32; 0]);
    case.last_fired[7] -= 1;
    assert_eq!(case.find(gpu(), &[10]).unwrap().dead, [7]);
}
