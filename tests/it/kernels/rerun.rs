use monosem::selftest::rerun::Case;

use super::gpu;

#[test]
fn rows_come_back_where_they_were_and_audited_ones_are_only_compared() {
    let listed: Vec<(usize, bool)> = (0..130).map(|at| ((at * 37 + 5) % 1000, at % 7 == 3)).collect();
    let all = Case { rows: 1000, quads: 20, k: 33, listed, room: 200, wrong: None, is_taken_again: true };
    for listed in [0, 1, 64, 130] {
        for room in [1, 63, 64, 128, 200] {
            for is_taken_again in [true, false] {
                let listed = all.listed[..listed].to_vec();
                let case = Case { listed, room, is_taken_again, ..all.clone() };
                let name = format!("{} rows, room for {room}, {is_taken_again}", case.listed.len());
                assert!(case.run(gpu()).unwrap() == case.expected(), "{name}");
            }
        }
    }
}

#[test]
fn an_entry_that_screening_has_wrong_raises_the_guard_whichever_it_is() {
    let listed = vec![(80, false), (3, true), (41, true)];
    let case = Case { rows: 90, quads: 4, k: 9, listed, room: 128, wrong: None, is_taken_again: true };
    for (slot, at) in [(1, 0), (1, 8), (2, 4)] {
        let case = Case { wrong: Some((slot, at)), ..case.clone() };
        let found = case.run(gpu()).unwrap();
        assert!(found == case.expected() && found.guard != [0, 0], "{slot}, {at}: {:?}", found.guard);
    }
    // Of a row that is uncertain another entry is what f32 is asked for.
    let case = Case { wrong: Some((0, 4)), ..case };
    assert_eq!(case.run(gpu()).unwrap().guard, [0, 0]);
}
