use monosem::kernels::Decode;
use monosem::selftest::FOLD;
use monosem::selftest::decode::Case;
use monosem::selftest::tensors::bits;

use super::{assert_close, coarse, deterministic, gpu};

#[test]
fn every_size_matches_the_reference_and_shards_give_the_bits_of_one() {
    let kernel = Decode::new(gpu()).unwrap();
    // The last has more quads than 65,535 groups of 64 take.
    for (rows, d, n, k) in [
        (0, 4, 8, 2),
        (1, 1, 1, 1),
        (1, 255, 2500, 32),
        (1, 256, 2500, 7),
        (1, 257, 2500, 7),
        (130, 17, 2500, 33),
        (20, 50, 40, 40),
        (65_535 * 4 + 3, 50, 2100, 1),
    ] {
        let case = Case::new(rows, d, n, k);
        let whole = case.decode(gpu(), &kernel, &[n]).unwrap();
        let expected = case.expected();
        assert_close(&format!("decode {rows} x {d}, {k} of {n}"), &whole, &expected, FOLD);
        if n > 2048 {
            assert_eq!(bits(&case.decode(gpu(), &kernel, &[1024, 2048, n]).unwrap()), bits(&whole));
        }
    }
    let case = Case::new(30, 100, 300, 20);
    deterministic(|| bits(&case.decode(gpu(), &kernel, &[300]).unwrap()));
}

#[test]
fn a_nan_reaches_its_row_alone_and_a_zero_takes_nothing() {
    let kernel = Decode::new(gpu()).unwrap();
    // No padding, into which a NaN goes too.
    let mut case = Case::new(3, 16, 30, 4);
    case.codes.values[4] = f32::NAN;
    let x = case.decode(gpu(), &kernel, &[30]).unwrap();
    for (row, x) in x.chunks_exact(16).enumerate() {
        assert!(x.iter().all(|x| x.is_nan() == (row == 1)), "row {row}: {x:?}");
    }
    case.codes.values = vec![0.0; 12];
    case.w_dec = vec![f32::NAN; 30 * 16];
    assert_eq!(bits(&case.decode(gpu(), &kernel, &[30]).unwrap()), bits(&case.b_dec.repeat(3)));
}

#[test]
fn sums_are_folded_by_rule_x() {
    let mut case = Case::new(3, 40, 200, 50);
    (case.codes.values, case.w_dec, case.b_dec) = (coarse(1, 150), coarse(2, 200 * 40), coarse(3, 40));
    let mut expected = Vec::new();
    for (features, values) in case.codes.features.chunks(50).zip(case.codes.values.chunks(50)) {
        expected.extend((0..40).map(|column| {
            let codes = features.iter().zip(values);
            codes.fold(case.b_dec[column], |sum, (j, a)| a.mul_add(case.w_dec[*j as usize * 40 + column], sum))
        }));
    }
    assert_eq!(bits(&case.decode(gpu(), &Decode::new(gpu()).unwrap(), &[200]).unwrap()), bits(&expected));
}
