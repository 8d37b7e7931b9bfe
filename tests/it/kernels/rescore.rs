use std::sync::OnceLock;

use monosem::kernels::{EncodeVariant, GroupMaxima, Rescore, RescoreVariant};
use monosem::reference;
use monosem::selftest::FOLD;
use monosem::selftest::rescore::{Case, Codes};
use monosem::selftest::tensors::{bits, f64s};

use super::{assert_close, coarse, gpu, rule_d};

#[test]
fn every_size_and_shard_matches_the_reference() {
    for (shape, group, groups) in [
        ((0, 4, 8), 4, 0),
        ((1, 1, 1), 4, 1),
        ((9, 17, 2500), 8, 7),
        ((33, 100, 1111), 16, 3),
        ((3, 768, 70), 8, 9),
        // More candidates than 65,535 groups of 64 take.
        ((65_535, 3, 640), 16, 5),
    ] {
        for variant in RescoreVariant::ALL {
            matches_the_reference(variant, shape, group, groups);
        }
    }
}

fn matches_the_reference(variant: RescoreVariant, shape: (usize, usize, usize), group: usize, groups: usize) {
    let kernel = Rescore::of_variant(gpu(), group as u32, variant).unwrap();
    let case = Case::new(shape);
    let best_groups = case.some_groups(group, groups);
    let numbers: Vec<usize> = best_groups.iter().map(|&number| number as usize).collect();
    let [x, w_enc, b_enc, norms] = [&case.x, &case.w_enc, &case.b_enc, &case.norms].map(|values| f64s(values));
    if case.rows == 0 {
        assert_eq!(case.rescore(gpu(), &kernel, &best_groups, group, &[case.n]).unwrap(), (vec![], vec![]));
        return;
    }
    let (features, values, keys) = reference::rescore(&x, &w_enc, &b_enc, &norms, case.d, &numbers, group);
    let whole = case.rescore(gpu(), &kernel, &best_groups, group, &[case.n]).unwrap();
    let is_inside: Vec<bool> = features.iter().map(|&feature| feature < case.n).collect();
    let inside = |list: &[f32]| -> Vec<f32> {
        list.iter().zip(&is_inside).filter(|(_, inside)| **inside).map(|(value, _)| *value).collect()
    };
    let finite = |list: Vec<f64>| list.into_iter().filter(|value| value.is_finite()).collect::<Vec<_>>();
    assert_close(&format!("keys {shape:?}"), &inside(&whole.1), &finite(keys), FOLD);
    assert_close(&format!("values {shape:?}"), &inside(&whole.0), &finite(values), FOLD);
    let mut outside = whole.1.iter().zip(&is_inside).filter(|(_, inside)| !**inside);
    assert!(outside.all(|(key, _)| *key == f32::NEG_INFINITY), "{shape:?}");
    if case.n > 2048 {
        let shards = case.rescore(gpu(), &kernel, &best_groups, group, &[1024, 2048, case.n]).unwrap();
        assert_eq!((bits(&inside(&shards.0)), bits(&shards.1)), (bits(&inside(&whole.0)), bits(&whole.1)));
    }
}

#[test]
fn both_variants_give_the_same_bits() {
    // Groups that hundreds of rows share, that two or three do, and that one row has.
    for (shape, group, groups) in
        [((300, 768, 150), 8, 11), ((257, 40, 4000), 16, 7), ((200, 100, 3000), 8, 20), ((3, 16, 9000), 8, 5)]
    {
        let case = Case::new(shape);
        let best_groups = case.some_groups(group, groups);
        for cuts in [&[case.n][..], &[1024, 2048, case.n]] {
            if case.n < 2048 && cuts.len() > 1 {
                continue;
            }
            let [by_row, by_group] = RescoreVariant::ALL.map(|variant| {
                let kernel = Rescore::of_variant(gpu(), group as u32, variant).unwrap();
                let (values, keys) = case.rescore(gpu(), &kernel, &best_groups, group, cuts).unwrap();
                (bits(&values), bits(&keys))
            });
            assert!(by_row == by_group, "{shape:?} in shards that end at {cuts:?}");
        }
    }
}

#[test]
fn sums_are_folded_by_rule_d() {
    let (rows, d, n, group) = (5, 300, 40, 8);
    let (x, w_enc, b_enc) = (coarse(1, rows * d), coarse(2, n * d), coarse(3, n));
    let case = Case { x, w_enc, b_enc, norms: vec![1.0; n], rows, d, n };
    let expected: Vec<f32> = case
        .x
        .chunks(d)
        .flat_map(|x| case.w_enc.chunks(d).zip(&case.b_enc).map(move |(w, b)| rule_d(w, x) + b))
        .collect();
    let groups: Vec<u32> = (0..rows).flat_map(|_| 0..5).collect();
    for variant in RescoreVariant::ALL {
        let kernel = Rescore::of_variant(gpu(), group as u32, variant).unwrap();
        let (values, keys) = case.rescore(gpu(), &kernel, &groups, group, &[n]).unwrap();
        assert_eq!((bits(&values), bits(&keys)), (bits(&expected), bits(&expected)), "{variant}");
    }
}

#[test]
fn codes_have_the_features_and_values_of_their_candidates() {
    let kernel = Rescore::new(gpu(), 8).unwrap();
    for (rows, first_row) in [(0, 0), (1, 0), (65, 7), (4096 * 64 / 3 + 1, 1)] {
        let case = Codes::random(rows, first_row);
        assert!(case.write(gpu(), &kernel).unwrap() == case.expected(), "{rows} rows from {first_row}");
    }
}

/// Every variant that the device can run.
fn variants() -> &'static [(EncodeVariant, GroupMaxima)] {
    static VARIANTS: OnceLock<Vec<(EncodeVariant, GroupMaxima)>> = OnceLock::new();
    VARIANTS.get_or_init(|| {
        let variants = EncodeVariant::available(gpu().description()).into_iter();
        variants.map(|variant| (variant, GroupMaxima::new(gpu(), variant).unwrap())).collect()
    })
}

#[test]
fn maxima_are_the_largest_rescored_keys_bit_for_bit() {
    for (variant, kernel) in variants() {
        let group = variant.group() as usize;
        let shapes = [(129, 100, 259), (9, 768, 65), (1, 1, 1), (31, 5, 15), (33, 16, 17), (300, 33, 1030)];
        // What small sizes find is found in the usual shape.
        for &shape in &shapes[..if variant.is_usual() { 6 } else { 2 }] {
            let case = Case::new(shape);
            let expected = bits(&case.rescored_maxima(gpu(), group).unwrap());
            for chunk in [case.n, 64, 192] {
                let maxima = case.maxima(gpu(), kernel, chunk).unwrap();
                assert_eq!(bits(&maxima), expected, "{variant}, {shape:?} in chunks of {chunk}");
            }
        }
    }
}

#[test]
fn a_nan_is_the_maximum_and_minus_zero_none() {
    for (variant, kernel) in variants() {
        let (group, n) = (variant.group() as usize, 64);
        let mut case = Case {
            x: vec![0.0; 4],
            w_enc: vec![0.0; 4 * n],
            b_enc: vec![-1.0; n],
            norms: vec![1.0; n],
            rows: 1,
            d: 4,
            n,
        };
        case.b_enc[group + 1] = f32::NAN;
        case.b_enc[group + 2] = f32::INFINITY;
        case.b_enc[2 * group + 3] = -0.0;
        case.b_enc[3 * group..4 * group].fill(f32::NEG_INFINITY);
        let maxima = case.maxima(gpu(), kernel, n).unwrap();
        assert_eq!(maxima[0], -1.0);
        assert!(maxima[1].is_nan());
        assert_eq!(maxima[2], 0.0);
        assert_eq!(maxima[3], f32::NEG_INFINITY);
    }
}
