use monosem::selftest::FOLD;
use monosem::selftest::product::{Case, SHAPES};
use monosem::selftest::tensors::bits;

use super::{assert_close, coarse, gpu, rule_d};

#[test]
fn every_shape_matches_the_reference_around_tiles() {
    for shape in SHAPES {
        for sizes in [[1, 1, 1], [127, 63, 15], [128, 64, 16], [129, 65, 17], [3, 260, 33], [300, 5, 4], [40, 40, 768]]
        {
            let case = Case::new(shape, sizes);
            let name = format!("product {sizes:?}, {shape:?}");
            assert_close(&name, &case.product(gpu()).unwrap(), &case.expected(), FOLD);
        }
    }
}

#[test]
fn sums_ascend_by_rule_d() {
    for shape in SHAPES {
        let [rows, columns, depth] = [130, 70, 50];
        let mut case = Case::new(shape, [rows, columns, depth]);
        (case.left, case.right) = (coarse(1, rows * depth), coarse(2, columns * depth));
        let element = |at: usize| {
            let sum = rule_d(&case.left[at / columns * depth..][..depth], &case.right[at % columns * depth..][..depth]);
            if shape.adds { sum + case.before[at] } else { sum }
        };
        let expected: Vec<f32> = (0..rows * columns).map(element).collect();
        assert_eq!(bits(&case.product(gpu()).unwrap()), bits(&expected), "{shape:?}");
    }
}
