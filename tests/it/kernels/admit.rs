use monosem::engine::entries::Pass;
use monosem::gpu::shaders::center::LIST_FULL;
use monosem::selftest::admit::{Case, JUMPRELU, KINDS, Kernels, VALUE};
use monosem::selftest::tensors::{POISON, cuts, f64s};

use super::{assert_close, gpu};

#[test]
fn every_kind_lists_what_it_admits_in_any_chunks() {
    for kind in KINDS {
        for pass in [Pass::Training, Pass::Evaluation] {
            let kernels = Kernels::of_entry(gpu(), kind, pass).unwrap();
            for (rows, n) in [(1, 1), (3, 257), (7, 2500), (300, 33), (4096 + 3, 9)] {
                let case = Case::new(kind, pass, rows, n);
                let expected = case.expected();
                for cuts in cuts(n) {
                    for width in [n, n.div_ceil(3)] {
                        let actual = case.list(gpu(), &kernels, width, &cuts).unwrap();
                        let what = format!("{kind:?}, {pass:?}: {rows} rows of {n} by {width}, cut at {cuts:?}");
                        assert!(actual.places() == expected.places(), "{what}");
                        assert!(actual.starts == expected.starts && actual.guard == 0, "{what}");
                        assert_close("value", &actual.keys(), &f64s(&expected.keys()), VALUE);
                    }
                }
            }
        }
    }
}

#[test]
fn training_lists_the_window_too() {
    let listed = |pass| Case::new(JUMPRELU, pass, 20, 500).expected().entries;
    let flags = |entries: &[[u32; 4]]| entries.iter().fold(0, |all, entry| all | (entry[1] >> 25));
    let (training, evaluation) = (listed(Pass::Training), listed(Pass::Evaluation));
    assert!(training.len() > evaluation.len() && !evaluation.is_empty());
    assert_eq!([flags(&training), flags(&evaluation)], [3, 1]);
}

#[test]
fn a_list_that_exactly_fits_is_not_full_and_one_that_does_not_is_left_alone() {
    let case = Case::new(KINDS[1], Pass::Training, 40, 900);
    let expected = case.expected();
    let needed = expected.entries.len();
    let kernels = Kernels::of_entry(gpu(), KINDS[1], Pass::Training).unwrap();
    for width in [900, 128] {
        let fitting = Case { capacity: needed, ..Case::new(KINDS[1], Pass::Training, 40, 900) };
        assert!(fitting.list(gpu(), &kernels, width, &[900]).unwrap() == expected, "by {width}");
        let full = Case { capacity: needed - 1, ..fitting };
        let actual = full.list(gpu(), &kernels, width, &[900]).unwrap();
        assert_eq!(actual.guard, LIST_FULL, "by {width}");
        // Whatever is read of it lies within it.
        assert!(actual.starts.iter().all(|start| *start < needed as u32), "by {width}");
        if width == 900 {
            assert!(actual.entries.iter().all(|entry| *entry == [POISON; 4]));
        }
    }
}

#[test]
fn a_nan_is_listed_so_that_it_is_seen() {
    for kind in KINDS {
        let mut case = Case::new(kind, Pass::Evaluation, 2, 600);
        case.u[700] = f32::NAN;
        let kernels = Kernels::of_entry(gpu(), kind, Pass::Evaluation).unwrap();
        let listed = case.list(gpu(), &kernels, 256, &[600]).unwrap();
        let nan = listed.entries.iter().find(|entry| f32::from_bits(entry[2]).is_nan());
        let is_kept = nan.is_some_and(|entry| entry[0] == 100 && f32::from_bits(entry[3]).is_nan());
        assert!(is_kept, "{kind:?}: {nan:?}");
    }
}
