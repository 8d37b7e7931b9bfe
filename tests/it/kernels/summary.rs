use monosem::selftest::FOLD;
use monosem::selftest::lists::{Batch, Lists};
use monosem::selftest::summary::{expected, expected_extras, extras, random_extras, run_plane, summary};
use monosem::selftest::tensors::{POISON, bits, cuts};

use super::{assert_close, coarse, gpu, rule_b};

#[test]
fn every_size_matches_the_reference_in_any_shards_by_any_number_of_workgroups() {
    for (rows, n, per_row) in [
        (1, 1, [1, 0]),
        (255, 40, [3, 2]),
        (256, 40, [3, 2]),
        (257, 40, [3, 0]),
        // Eight blocks of rows are looked at together.
        (2047, 61, [4, 3]),
        (2048, 61, [4, 3]),
        (2049, 61, [4, 3]),
        (600, 2500, [9, 0]),
    ] {
        let batch = Batch::new(3, Lists::random(3, rows, n, per_row, true), 1);
        let whole = summary(gpu(), &batch, 1, &[n]).unwrap();
        let sums = expected(&batch);
        let name = |what| format!("summary {what}, {rows} rows, {per_row:?} of {n}");
        assert_close(&name("slopes"), &whole.slopes, &sums.iter().map(|sum| sum.slopes).collect::<Vec<_>>(), FOLD);
        assert_close(&name("along"), &whole.along, &sums.iter().map(|sum| sum.along).collect::<Vec<_>>(), FOLD);
        assert_eq!(whole.fired, sums.iter().map(|sum| sum.fired).collect::<Vec<_>>());
        assert_eq!(whole.runs, run_plane(&batch));
        assert_eq!(whole.hot_runs, batch.runs.hot_runs(|_| POISON));
        for cuts in cuts(n) {
            for groups in [1, 2, 5000] {
                assert_eq!(summary(gpu(), &batch, groups, &cuts).unwrap(), whole, "{cuts:?}, {groups} workgroups");
            }
        }
    }
}

#[test]
fn sums_are_folded_by_rule_b() {
    let mut batch = Batch::new(3, Lists::random(3, 5000, 30, [2, 2], true), 1);
    let count = batch.runs.terms.len();
    let (slopes, values) = (coarse(1, count), coarse(2, count));
    for (term, (p, a)) in batch.runs.terms.iter_mut().zip(slopes.into_iter().zip(values)) {
        term.p = p;
        (term.a0, term.a1) = if term.list == 0 { (a, 0.0) } else { (0.0, a) };
    }
    let actual = summary(gpu(), &batch, 3, &[30]).unwrap();
    let runs = &batch.runs;
    let fold = |value: &dyn Fn(&monosem::selftest::lists::HostTerm) -> f32| -> Vec<u32> {
        let of_run = |run| rule_b(runs.of(run).iter().map(|term| (term.list, term.row as usize, value(term))));
        bits(&(0..runs.features.len()).map(of_run).collect::<Vec<_>>())
    };
    assert_eq!(bits(&actual.slopes), fold(&|term| term.p));
    assert_eq!(bits(&actual.along), fold(&|term| (term.a0 + term.a1) * term.p));
}

#[test]
fn extras_are_summed_in_any_shards() {
    for (rows, n, per_row) in [(257, 40, [3, 0]), (2049, 61, [4, 3]), (600, 2500, [9, 0])] {
        let batch = Batch::new(3, Lists::random(3, rows, n, per_row, true), 1);
        let of_terms = random_extras(&batch);
        let whole = extras(gpu(), &batch, &of_terms, &[n]).unwrap();
        let expected = expected_extras(&batch, &of_terms);
        assert_close(&format!("extras, {rows} rows"), whole.as_flattened(), expected.as_flattened(), FOLD);
        for cuts in cuts(n) {
            let cut = extras(gpu(), &batch, &of_terms, &cuts).unwrap();
            assert_eq!(bits(cut.as_flattened()), bits(whole.as_flattened()), "{cuts:?}");
        }
    }
}
