use monosem::kernels::SumShape;
use monosem::selftest::FOLD;
use monosem::selftest::lists::{HostTerm, Runs};
use monosem::selftest::squares::Case;
use monosem::selftest::tensors::{bits, cuts};

use super::{assert_close, coarse, gpu, rule_b, rule_r};

#[test]
fn every_size_matches_the_reference_in_any_shards_by_any_number_of_workgroups() {
    for (rows, d, n, per_row) in [
        (1, 1, 1, [1, 0]),
        (255, 127, 40, [3, 2]),
        (256, 128, 41, [3, 2]),
        (257, 129, 61, [3, 0]),
        (300, 33, 1100, [4, 2]),
        (9, 385, 40, [2, 3]),
        (9, 800, 40, [2, 3]),
    ] {
        let case = Case::new(rows, d, n, per_row);
        for project in [false, true] {
            let whole = case.squares(gpu(), project, 1, &[n]).unwrap();
            let expected = case.expected(project);
            let name = |what| format!("squares {what} {rows} x {d}, {per_row:?} of {n}, {project}");
            assert_close(&name("encoder"), &whole.encoder, &expected.encoder, FOLD);
            assert_close(&name("decoder"), &whole.decoder, &expected.decoder, FOLD);
            for cuts in cuts(n) {
                for shape in SumShape::ALL {
                    for groups in [3, 5000] {
                        let found = case.squares_of_shape(gpu(), shape, project, groups, &cuts).unwrap();
                        assert_eq!(found, whole, "{shape:?}, {cuts:?}, {groups}");
                    }
                }
            }
        }
    }
}

/// The gradient of a column of a run's encoder or decoder row.
fn gradient(case: &Case, run: usize, column: usize, of_decoder: bool) -> f32 {
    let d = case.batch.d;
    let term = |term: &HostTerm| {
        let at = term.row as usize * d + column;
        let gradients = &case.batch.gradients[term.list as usize];
        let product = if of_decoder { (term.a0 + term.a1) * gradients[at] } else { term.p * case.batch.centred[at] };
        (term.list, term.row as usize, product)
    };
    rule_b(case.batch.runs.of(run).iter().map(term))
}

#[test]
fn gradients_are_folded_by_rule_b_and_their_squares_by_rule_r() {
    // With up to 128 columns a lane has one square; with more a gradient must be exact for its square to be.
    for (rows, d, n, k) in [(1200, 100, 10, 3), (4, 500, 40, 10)] {
        let mut case = Case::new(rows, d, n, [k, k]);
        let runs: &mut Runs = &mut case.batch.runs;
        let count = runs.terms.len();
        if d > 128 {
            // A term for each run.
            runs.terms = (0..runs.features.len()).map(|run| runs.of(run)[0]).collect();
            runs.starts = (0..=runs.features.len()).collect();
        }
        for (term, (p, a)) in runs.terms.iter_mut().zip(coarse(1, count).into_iter().zip(coarse(2, count))) {
            let [p, a] = if d > 128 { [1.0, -1.0] } else { [p, a] };
            term.p = p;
            (term.a0, term.a1) = if term.list == 0 { (a, 0.0) } else { (0.0, a) };
        }
        case.batch.centred = coarse(3, rows * d);
        case.batch.gradients = [coarse(4, rows * d), coarse(5, rows * d)];
        let expected = [false, true].map(|of_decoder| {
            let square = |run| {
                let row: Vec<f32> = (0..d).map(|column| gradient(&case, run, column, of_decoder)).collect();
                rule_r(&row, &row)
            };
            bits(&(0..case.batch.runs.features.len()).map(square).collect::<Vec<f32>>())
        });
        for shape in SumShape::ALL {
            let actual = case.squares_of_shape(gpu(), shape, false, 2, &[n]).unwrap();
            assert_eq!([bits(&actual.encoder), bits(&actual.decoder)], expected, "{rows} x {d}, {shape:?}");
        }
    }
}
