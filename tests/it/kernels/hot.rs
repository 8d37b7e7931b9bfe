use monosem::selftest::FOLD;
use monosem::selftest::hot::{expected, hot_rows};
use monosem::selftest::lists::{Batch, HostTerm, Lists, Runs};
use monosem::selftest::squares::Case;
use monosem::selftest::tensors::{POISON, bits, random};
use monosem::selftest::trained::{Model, Settings};

use super::{assert_close, coarse, gpu, rule_b};

/// A batch whose runs have so many terms of list 0 and of list 1, spread over all of its rows.
fn batch(rows: usize, d: usize, lengths: &[[usize; 2]]) -> Batch {
    let mut lists = Lists::random(1, rows, lengths.len(), [1, 1], false);
    lists.per_row = [1, u32::from(lengths.iter().any(|length| length[1] > 0)) as usize];
    let mut runs = Runs { n: lengths.len(), features: vec![], starts: vec![0], terms: vec![], hot: 64 };
    for (feature, length) in (0..).zip(lengths) {
        for (list, &length) in (0..).zip(length) {
            // Every row once, then none twice.
            assert!(length <= rows);
            runs.terms.extend((0..length).map(|at| HostTerm {
                row: (at * rows / length) as u32,
                list,
                p: 0.0,
                a0: 0.0,
                a1: 0.0,
            }));
        }
        if length.iter().sum::<usize>() > 0 {
            runs.features.push(feature);
            runs.starts.push(runs.terms.len());
        }
    }
    let count = runs.terms.len();
    for (term, (p, a)) in runs.terms.iter_mut().zip(coarse(1, count).into_iter().zip(coarse(2, count))) {
        term.p = p;
        (term.a0, term.a1) = if term.list == 0 { (a, 0.0) } else { (0.0, a) };
    }
    let gradients = [coarse(4, rows * d), coarse(5, rows * d)];
    Batch { d, lists, runs, centred: coarse(3, rows * d), gradients }
}

/// The runs that are hot.
fn hot(runs: &Runs) -> impl Iterator<Item = usize> {
    (0..runs.features.len()).filter(|run| runs.of(*run).len() >= runs.hot as usize)
}

/// The sums of all hot runs by rule B.
fn by_rule_b(batch: &Batch, value: impl Fn(&HostTerm, usize) -> f32) -> Vec<u32> {
    let column = |run: usize, column: usize| {
        let terms = batch.runs.of(run).iter();
        rule_b(terms.map(|term| (term.list, term.row as usize, value(term, term.row as usize * batch.d + column))))
    };
    let rows = hot(&batch.runs).flat_map(|run| (0..batch.d).map(move |at| (run, at)));
    bits(&rows.map(|(run, at)| column(run, at)).collect::<Vec<_>>())
}

#[test]
fn hot_runs_are_folded_by_rule_b() {
    for (rows, d, lengths) in [
        // Below, at and above the limit; neighbours, the first and the last.
        (500, 20, &[[64, 0], [63, 0], [64, 0], [65, 0], [1, 0], [0, 0], [64, 0]][..]),
        // On all rows, of one, two and twenty blocks, and of more than are looked at together.
        (256, 70, &[[256, 0], [255, 0]]),
        (257, 4, &[[257, 0], [3, 0], [256, 0]]),
        (5000, 100, &[[5000, 0], [40, 0], [130, 0], [4999, 0], [70, 0]]),
        // Of both lists, of list 1 alone; no terms in the middle.
        (1100, 33, &[[64, 64], [20, 44], [20, 43], [0, 70], [1100, 1100], [0, 0], [1, 1100]]),
        (4200, 20, &[[4200, 4200], [0, 64], [64, 0]]),
    ] {
        let mut batch = batch(rows, d, lengths);
        for limit in [64, 100, 1000] {
            batch.runs.hot = limit;
            let encoder = by_rule_b(&batch, |term, at| term.p * batch.centred[at]);
            let decoder = by_rule_b(&batch, |term, at| (term.a0 + term.a1) * batch.gradients[term.list as usize][at]);
            for groups in [1, 7, 5000] {
                let actual = hot_rows(gpu(), &batch, groups).unwrap().map(|rows| bits(&rows.concat()));
                assert_eq!(actual, [encoder.clone(), decoder.clone()], "{rows} x {d}, {limit} terms, {groups} groups");
            }
        }
    }
}

#[test]
fn every_size_matches_the_reference() {
    for (rows, d, n, per_row) in [(64, 1, 1, [1, 0]), (900, 385, 9, [2, 0]), (3000, 129, 30, [3, 2])] {
        let batch = Batch::new(1, Lists::random(1, rows, n, per_row, true), d);
        let [encoder, decoder] = hot_rows(gpu(), &batch, 3).unwrap().map(|rows| rows.concat());
        let expected = expected(&batch);
        assert!(!expected[0].is_empty());
        assert_close(&format!("hot encoder {rows} x {d} of {n}"), &encoder, &expected[0], FOLD);
        assert_close(&format!("hot decoder {rows} x {d} of {n}"), &decoder, &expected[1], FOLD);
    }
}

#[test]
fn what_is_hot_changes_no_bit() {
    let (rows, d) = (1500, 50);
    let lengths = [[1500, 0], [63, 0], [64, 1500], [0, 800], [1, 0], [0, 0], [300, 2], [0, 64], [17, 16]];
    let mut batch = batch(rows, d, &lengths);
    batch.centred = random(3, rows * d);
    batch.gradients = [random(4, rows * d), random(5, rows * d)];
    let n = lengths.len();
    let of_limit = |hot: u32| {
        let batch = Batch { runs: Runs { hot, ..batch.runs.clone() }, ..batch.clone() };
        let case = Case { w_dec: random(9, n * d), batch };
        let squares = [false, true].map(|project| case.squares(gpu(), project, 3, &[n]).unwrap());
        let mut model = Model::with_moments(d, n).narrow();
        for step in 1..3 {
            model.update(gpu(), &case.batch, &Settings::of_step(step), &[n]).unwrap();
        }
        (squares, model.bits())
    };
    let none = of_limit(POISON);
    for limit in [1, 2, 33, 64, 65, 1000, 1500, 3000] {
        assert!(of_limit(limit) == none, "hot from {limit} terms on");
    }
}
