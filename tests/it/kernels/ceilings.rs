use monosem::measure::{CeilingKernels, Ceilings, Work};
use monosem::reference;
use monosem::selftest::FOLD;
use monosem::selftest::ceilings::{ADDEND, FACTOR, copied, multiplied};
use monosem::selftest::tensors::{bits, random};

use super::{assert_close, gpu};

#[test]
fn what_is_timed_is_done() {
    let kernels = CeilingKernels::new(gpu()).unwrap();
    // The last has more vectors than 65,535 groups of 64 take.
    for vectors in [0, 1, 63, 64, 65, 65_535 * 64 + 3] {
        let values = random(1, 4 * vectors);
        assert!(bits(&copied(gpu(), &kernels, &values).unwrap()) == bits(&values), "{vectors} vectors");
    }
    for (workgroups, rounds) in [(1, 0), (3, 1), (2, 100)] {
        let expected = reference::multiply_add(workgroups * 64, rounds as usize, FACTOR.into(), ADDEND.into());
        let sums = multiplied(gpu(), &kernels, workgroups, rounds).unwrap();
        assert_close(&format!("{rounds} rounds"), &sums, &expected, FOLD);
    }
}

#[test]
fn the_floor_is_the_slower_of_computing_and_copying() {
    let ceilings = Ceilings { flops_per_second: 100.0, bytes_per_second: 10.0 };
    let work = |flops, on_matrix_units, bytes| Work { kernel: "any", flops, on_matrix_units, bytes };
    assert_eq!(ceilings.floor(&work(50, false, 1)), 0.5);
    assert_eq!(ceilings.floor(&work(50, false, 20)), 2.0);
    // The rate of matrix units is not among the ceilings.
    assert_eq!(ceilings.floor(&work(50, true, 1)), 0.1);
}
