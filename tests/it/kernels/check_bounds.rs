use monosem::kernels::CheckBounds;
use monosem::reference;
use monosem::selftest::check_bounds::{check_bounds, integers};
use monosem::selftest::tensors::f64s;

use super::gpu;

#[test]
fn every_size_is_counted_as_by_the_reference() {
    let kernel = CheckBounds::new(gpu()).unwrap();
    // The last has more rows than 65,535 groups of 64 take.
    for (rows, groups, k) in [(0, 1, 1), (1, 1, 1), (64, 2, 1), (65, 1, 3), (1000, 72, 32), (65_535 * 64 + 1, 1, 1)] {
        let (bounds, keys) = (integers(1, rows * groups), integers(2, rows * k));
        let expected = reference::check_bounds(&f64s(&bounds), &f64s(&keys), groups, k);
        let actual = check_bounds(gpu(), &kernel, &bounds, &keys, (rows, groups, k)).unwrap();
        assert_eq!(actual as usize, expected, "{rows} rows");
        assert!(rows < 64 || (1..rows).contains(&expected), "{expected} of {rows}");
    }
}

#[test]
fn a_bound_must_be_below_the_keys_to_leave_no_doubt() {
    let kernel = CheckBounds::new(gpu()).unwrap();
    let uncertain = |bounds: [f32; 2], keys: [f32; 2]| check_bounds(gpu(), &kernel, &bounds, &keys, (1, 2, 2)).unwrap();
    assert_eq!(uncertain([1.0, 9.0], [2.0, 1.5]), 0);
    assert_eq!(uncertain([1.5, 9.0], [2.0, 1.5]), 1);
    assert_eq!(uncertain([-0.0, 9.0], [0.0, 1.5]), 1);
    assert_eq!(uncertain([f32::INFINITY, f32::INFINITY], [2.0, 1.5]), 1);
    assert_eq!(uncertain([f32::NAN, f32::NAN], [2.0, 1.5]), 1);
    assert_eq!(uncertain([1.0, 1.0], [f32::NAN, f32::NAN]), 0);
    assert_eq!(uncertain([-3.0, 1.0], [-2.0, f32::INFINITY]), 0);
}
