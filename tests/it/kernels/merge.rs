use monosem::selftest::merge::merge;
use monosem::selftest::tensors::{bits, random};

use super::gpu;

#[test]
fn sums_are_those_of_f32_and_never_a_negative_zero() {
    for vectors in [1, 63, 64, 65, 64 * 4096 + 5] {
        let (left, right) = (random(1, 4 * vectors), random(2, 4 * vectors));
        let expected: Vec<f32> = left.iter().zip(&right).map(|(left, right)| left + right).collect();
        assert_eq!(bits(&merge(gpu(), &left, &right).unwrap()), bits(&expected));
    }
    assert_eq!(bits(&merge(gpu(), &[-0.0, -0.0, 1.0, 0.0], &[-0.0, 0.0, -1.0, -0.0]).unwrap()), [0; 4]);
}
