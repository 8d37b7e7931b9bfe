use monosem::selftest::normalize::scale;
use monosem::selftest::tensors::{bits, random, stored};

use super::gpu;

#[test]
fn rows_are_multiplied_to_the_bits_of_f32() {
    // The last has more workgroups than one dimension of a dispatch takes.
    for (rows, d) in [(1, 1), (5, 33), (65, 1023), (65_537, 5)] {
        let x = random(3, rows * stored(d));
        for factor in [1.0, 0.012_345, 8.5e5] {
            let expected: Vec<f32> = x.iter().map(|value| value * factor).collect();
            assert!(bits(&scale(gpu(), &x, d, factor).unwrap()) == bits(&expected), "{rows} x {d} by {factor}");
        }
    }
}
