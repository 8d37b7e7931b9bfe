use monosem::kernels::CheckBounds;
use monosem::selftest::check_bounds::{Case, Found, integers};

use super::gpu;

#[test]
fn every_size_is_listed_as_by_the_reference() {
    let kernel = CheckBounds::new(gpu()).unwrap();
    // The last has more rows than 65,535 groups of 64 take.
    for (rows, groups, k, audit) in [
        (0, 1, 1, 0..0),
        (1, 1, 1, 0..1),
        (64, 2, 1, 63..64),
        (65, 1, 3, 7..20),
        (1000, 72, 32, 992..1000),
        (65_535 * 64 + 1, 1, 1, 65_535 * 64 - 5..65_535 * 64 + 1),
    ] {
        let (bounds, keys) = (integers(1, rows * groups), integers(2, rows * k));
        let case = Case { groups, k, room: rows.max(1), audit };
        let expected = case.expected(&bounds, &keys);
        assert!(case.run(gpu(), &kernel, &bounds, &keys).unwrap() == expected, "{rows} rows");
        assert!(rows < 64 || (1..rows).contains(&expected.uncertain), "{} of {rows}", expected.uncertain);
    }
}

#[test]
fn rows_that_there_is_no_room_for_are_counted() {
    let (rows, kernel) = (1000, CheckBounds::new(gpu()).unwrap());
    let (bounds, keys) = (integers(1, rows * 4), integers(2, rows * 2));
    let case = Case { groups: 4, k: 2, room: rows, audit: 500..600 };
    let expected = case.expected(&bounds, &keys);
    let Found { uncertain, wanted, listed } = Case { room: 7, ..case }.run(gpu(), &kernel, &bounds, &keys).unwrap();
    assert_eq!((uncertain, wanted, listed.len()), (expected.uncertain, expected.wanted, 7));
    assert!(wanted > uncertain && uncertain > 7 && listed.iter().all(|row| expected.listed.contains(row)));
}

#[test]
fn a_bound_must_be_below_the_keys_to_leave_no_doubt() {
    let kernel = CheckBounds::new(gpu()).unwrap();
    let case = Case { groups: 2, k: 2, room: 1, audit: 0..0 };
    let uncertain = |bounds: [f32; 2], keys: [f32; 2]| case.run(gpu(), &kernel, &bounds, &keys).unwrap().uncertain;
    assert_eq!(uncertain([1.0, 9.0], [2.0, 1.5]), 0);
    assert_eq!(uncertain([1.5, 9.0], [2.0, 1.5]), 1);
    assert_eq!(uncertain([-0.0, 9.0], [0.0, 1.5]), 1);
    assert_eq!(uncertain([f32::INFINITY, f32::INFINITY], [2.0, 1.5]), 1);
    assert_eq!(uncertain([f32::NAN, f32::NAN], [2.0, 1.5]), 1);
    assert_eq!(uncertain([1.0, 1.0], [f32::NAN, f32::NAN]), 0);
    assert_eq!(uncertain([-3.0, 1.0], [-2.0, f32::INFINITY]), 0);
}
