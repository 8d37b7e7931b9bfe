use monosem::kernels::SlopesVariant;
use monosem::sae::{Architecture, Gated, JumpRelu, Relu, SaeConfig};
use monosem::selftest::FOLD;
use monosem::selftest::lists::HostEntry;
use monosem::selftest::slopes::Case;
use monosem::selftest::tensors::{POISON, bits, cuts};

use super::{assert_close, coarse, gpu, rule_d};

#[test]
fn every_size_matches_the_reference_in_any_shards_by_any_number_of_workgroups() {
    for (rows, d, n, per_row) in [
        (1, 1, 1, [1, 0]),
        (31, 16, 40, [1, 0]),
        (32, 17, 40, [1, 0]),
        (33, 32, 40, [1, 0]),
        (63, 16, 40, [1, 0]),
        (64, 17, 40, [1, 0]),
        (65, 33, 40, [1, 1]),
        (50, 100, 2500, [7, 5]),
        (50, 100, 2500, [7, 0]),
        (9, 768, 40, [2, 3]),
    ] {
        let case = Case::new(rows, d, n, per_row);
        let whole = case.slopes(gpu(), SlopesVariant::ByTerm, 1, &[n]).unwrap();
        assert_close(&format!("slopes {rows} x {d}, {per_row:?} of {n}"), &whole.p, &case.expected(), FOLD);
        let carried = case.carried();
        assert_eq!(whole.places, carried.places);
        assert_eq!((bits(&whole.a0), bits(&whole.a1)), (bits(&carried.a0), bits(&carried.a1)));
        for variant in SlopesVariant::ALL {
            for cuts in cuts(n) {
                for groups in [1, 2, 5000] {
                    let found = case.slopes(gpu(), variant, groups, &cuts).unwrap();
                    assert_eq!(found, whole, "{variant}, {cuts:?}, {groups} workgroups");
                }
            }
        }
    }
}

#[test]
fn both_variants_make_the_same_terms_of_every_kind_of_entry() {
    let gated = |detached| Gated { l1: 1.0, normed: true, detached, capacity: None }.into();
    let relu = Relu { l1: 1.0, normed: true, capacity: None }.into();
    let architectures: [Architecture; 4] = [relu, JumpRelu::inference().into(), gated(false), gated(true)];
    for architecture in architectures {
        let description = SaeConfig { architecture, ..SaeConfig::top_k(16, 16, 1) }.describe();
        for (rows, d, n, k) in [(1, 1, 1, 1), (50, 100, 2500, 7), (33, 17, 40, 3)] {
            let case = Case::new(rows, d, n, [k, 0]);
            for cuts in cuts(n) {
                let [by_term, staged] =
                    SlopesVariant::ALL.map(|variant| case.words(gpu(), &description, variant, 3, &cuts).unwrap());
                assert!(!by_term.iter().flatten().any(|word| *word == POISON), "a term is no number");
                assert!(by_term == staged, "{rows} x {d} of {n} in {cuts:?}, {description:?}");
            }
        }
    }
}

#[test]
fn products_are_folded_by_rule_d() {
    let (rows, d, n) = (20, 100, 300);
    let mut case = Case::new(rows, d, n, [5, 3]);
    case.batch.gradients = [coarse(1, rows * d), coarse(2, rows * d)];
    case.w_dec = coarse(3, n * d);
    let product = |entry: &HostEntry| {
        let g = &case.batch.gradients[entry.list as usize][entry.row as usize * d..][..d];
        rule_d(g, &case.w_dec[entry.feature as usize * d..][..d])
    };
    let expected: Vec<f32> = case.sorted().map(product).collect();
    for variant in SlopesVariant::ALL {
        assert_eq!(bits(&case.slopes(gpu(), variant, 1, &[n]).unwrap().p), bits(&expected), "{variant}");
    }
}
