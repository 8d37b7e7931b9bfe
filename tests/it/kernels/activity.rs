use monosem::selftest::activity::Case;

use super::gpu;

const LOSS_NOT_FINITE: u32 = 2;
const PARAMETER_NOT_FINITE: u32 = 8;

#[test]
fn every_size_matches_the_reference_in_any_shards() {
    // The last has more workgroups than one dimension of a dispatch takes.
    for n in [1, 63, 64, 65, 255, 256, 257, 1024, 2500, 256 * 4096 + 300] {
        let case = Case::new(n);
        let expected = case.expected();
        assert_eq!(case.activity(gpu(), &[n]).unwrap(), expected, "{n}");
        if n == 2500 {
            assert_eq!(case.activity(gpu(), &[1024, 2048, n]).unwrap(), expected);
        }
    }
}

#[test]
fn a_raised_guard_keeps_every_count() {
    let mut case = Case::new(300);
    case.guard = [LOSS_NOT_FINITE, 0];
    let counted = case.activity(gpu(), &[300]).unwrap();
    assert_eq!((counted.last_fired, counted.times_fired), (case.last_fired.clone(), case.times_fired.clone()));
    assert_eq!((counted.dead, counted.guard), (0, case.guard.to_vec()));
    // What an update raised is known too late to undo: the step counts.
    case.guard = [PARAMETER_NOT_FINITE, 0];
    assert_eq!(case.activity(gpu(), &[300]).unwrap(), case.expected());
}

#[test]
fn a_flawed_feature_raises_the_guard() {
    for (flawed, norm) in [(1, 1.0), (0, f32::NAN), (0, f32::INFINITY)] {
        let mut case = Case::new(700);
        (case.flawed[650], case.norms[650]) = (flawed, norm);
        let mut expected = case.expected();
        expected.guard[0] = PARAMETER_NOT_FINITE;
        assert_eq!(case.activity(gpu(), &[700]).unwrap(), expected);
    }
}
