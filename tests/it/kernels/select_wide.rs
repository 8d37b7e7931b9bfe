use monosem::selftest::select_wide::{Case, Keys};

use super::gpu;

#[test]
fn every_size_matches_the_reference_in_any_chunks() {
    for (rows, candidates, k) in [
        (1, 1, 1),
        (1, 2, 1),
        (3, 255, 100),
        (3, 256, 256),
        (3, 257, 1),
        (3, 700, 384),
        (2, 2047, 33),
        (2, 3000, 1025),
        (2, 3000, 2999),
        // There are fewer candidates than are wanted.
        (5, 90, 200),
        // More rows than one dimension of a dispatch takes.
        (4096 + 3, 9, 4),
    ] {
        for keys in Keys::ALL {
            for case in [Case::new(rows, candidates, k), Case::with_ties(rows, candidates, k)] {
                let expected = case.expected(keys);
                for chunk in [candidates, candidates.div_ceil(3)] {
                    let actual = case.select(gpu(), keys, chunk).unwrap();
                    assert!(actual == expected, "{rows} rows, {k} of {candidates}, {keys:?}, by {chunk}");
                }
            }
        }
    }
}

#[test]
fn a_nan_is_above_everything_where_values_are_raw_and_nothing_elsewhere() {
    let mut case = Case::new(3, 500, 20);
    case.norms = vec![1.0; 500];
    for (at, u) in [(7, f32::NAN), (499, f32::INFINITY), (801, f32::NEG_INFINITY), (1499, f32::NAN), (1200, f32::MAX)] {
        case.u[at] = u;
    }
    for keys in Keys::ALL {
        let expected = case.expected(keys);
        for chunk in [500, 130] {
            assert!(case.select(gpu(), keys, chunk).unwrap() == expected, "{keys:?}, by {chunk}");
        }
        let has_nan = expected.iter().any(|entry| f32::from_bits(entry[2]).is_nan());
        assert_eq!(has_nan, keys.raw);
    }
}

#[test]
fn zeros_of_both_signs_are_equal() {
    let mut case = Case::with_ties(2, 300, 40);
    for (at, u) in case.u.iter_mut().enumerate() {
        *u = if at % 3 == 0 { 0.0 } else { -0.0 };
    }
    for keys in Keys::ALL {
        let lists = case.select(gpu(), keys, 77).unwrap();
        assert_eq!(lists, case.expected(keys));
        assert_eq!(
            lists.iter().map(|entry| entry[0]).collect::<Vec<_>>(),
            (0..40).cycle().take(80).collect::<Vec<_>>()
        );
    }
}

#[test]
fn many_equal_keys_keep_the_first() {
    // More ties than a word of 16 bits counts, over many tiles.
    let mut case = Case::new(1, 70_000, 65_800);
    case.u = vec![0.5; 70_000];
    case.u[69_999] = 1.0;
    let keys = Keys { raw: false, scaled: false };
    assert!(case.select(gpu(), keys, 70_000).unwrap() == case.expected(keys));
}
