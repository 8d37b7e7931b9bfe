//! Batches that are under way at once: what they give is what each gives alone.

use monosem::apply::{Encoder, Evaluation, Evaluator, HostCodes, evaluate};
use monosem::data::Batch;
use monosem::engine::select::{SelectionMethod, Tuning};
use monosem::sae::Sae;
use monosem::{Divergence, Error};

use crate::engine::training::{BATCH, D, batches, config, recipe, run};
use crate::kernels::gpu;

const K: usize = 7;

fn sae() -> Sae {
    run(gpu(), 1, &config(200), recipe(200, 20)).0
}

/// The codes of rows, so many at a time, with batches under way.
fn streamed(encoder: &mut Encoder, rows: &[f32], size: usize) -> Vec<HostCodes> {
    let mut codes = Vec::new();
    for (at, rows) in rows.chunks(size * D).enumerate() {
        let finished = encoder.submit(rows).unwrap();
        assert_eq!(finished.is_some(), at > 0, "one batch stays under way");
        codes.extend(finished);
    }
    while let Some(finished) = encoder.next_finished().unwrap() {
        codes.push(finished);
    }
    codes
}

#[test]
fn codes_are_those_of_each_batch_alone() {
    let (sae, rows) = (sae(), batches(7, 1).remove(0).rows.to_f32().into_owned());
    for method in [SelectionMethod::Chunked, SelectionMethod::Grouped { group: 8 }] {
        let tuning = Tuning::usual(gpu().description(), method);
        let encoder = |rows| Encoder::with_tuning(gpu(), &sae, rows, tuning).unwrap();
        // Batches of one size, a shorter last one, one batch, and one that is shorter than the encoder's.
        for (capacity, size) in [(75, 75), (77, 77), (1, 1), (299, 299), (BATCH, BATCH), (BATCH + 20, BATCH)] {
            let mut whole = encoder(capacity);
            let streamed = streamed(&mut whole, &rows, size);
            let alone = rows.chunks(size * D).map(|rows| whole.encode(rows).unwrap());
            assert!(alone.eq(streamed.iter().cloned()), "{method}, {size}: other codes batch by batch");
            // An encoder of just these rows has none to fill up.
            let last = rows.chunks(size * D).next_back().unwrap();
            let exact = encoder(last.len() / D).encode(last).unwrap();
            assert!(Some(&exact) == streamed.last(), "{method}, {size}: other codes in the last batch");
        }
    }
}

#[test]
fn a_bad_batch_leaves_the_others_as_they_are() {
    let (sae, rows) = (sae(), batches(7, 1).remove(0).rows.to_f32().into_owned());
    let mut encoder = Encoder::new(gpu(), &sae, 100).unwrap();
    let [first, second, third] = [0, 1, 2].map(|at| &rows[at * 100 * D..][..100 * D]);
    let expected = [first, third].map(|rows| encoder.encode(rows).unwrap());
    let mut bad = second.to_vec();
    (bad[99 * D], bad[41 * D + 3]) = (f32::NAN, f32::INFINITY);
    assert!(encoder.submit(first).unwrap().is_none());
    let refused = encoder.encode(first);
    assert!(matches!(refused, Err(Error::Config(_))), "{refused:?}");
    assert_eq!(encoder.submit(&bad).unwrap().as_ref(), Some(&expected[0]));
    let outcome = encoder.submit(third);
    let Err(Error::Diverged { step: None, row: Some(41), what: Divergence::InputNotFinite, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(encoder.next_finished().unwrap().as_ref(), Some(&expected[1]));
    assert_eq!(encoder.next_finished().unwrap(), None);
    assert_eq!(encoder.encode(&first[..K * D]).unwrap().values, expected[0].values[..K * K]);
}

fn parts(rows: &[f32], size: usize) -> impl Iterator<Item = Batch> {
    rows.chunks(size * D).map(|rows| Batch::new(rows.to_vec(), D))
}

#[test]
fn metrics_are_those_of_batches_one_by_one() {
    let (sae, rows) = (sae(), batches(7, 1).remove(0).rows.to_f32().into_owned());
    let group = |row: usize| [None, Some(3), Some(8)][row % 3];
    let measured = |size: usize, settle: bool| -> Evaluation {
        let mut evaluator = Evaluator::new(gpu(), &sae, size).unwrap();
        let mut before = 0;
        for batch in parts(&rows, size) {
            evaluator.add(&batch, |row| group(before + row)).unwrap();
            before += batch.count;
            if settle {
                evaluator.settle().unwrap();
                assert_eq!(evaluator.finished(), before as u64);
            }
        }
        evaluator.finish().unwrap()
    };
    let whole = measured(BATCH, true);
    assert_eq!(whole.groups.keys().collect::<Vec<_>>(), [&3, &8]);
    for size in [1, 75, 77, 299, BATCH, BATCH + 20] {
        assert!(measured(size, false) == whole && measured(size, true) == whole, "batches of {size}");
    }
    let group_alone: Vec<f32> = rows.chunks(D).skip(1).step_by(3).flatten().copied().collect();
    let alone = evaluate(gpu(), &sae, 64, parts(&group_alone, 64).map(Ok)).unwrap();
    assert_eq!(alone.all, whole.groups[&3]);
}

#[test]
fn an_evaluation_knows_how_far_it_is_when_a_row_is_bad() {
    let (sae, mut rows) = (sae(), batches(7, 1).remove(0).rows.to_f32().into_owned());
    rows[130 * D] = 1e30;
    let mut evaluator = Evaluator::new(gpu(), &sae, 50).unwrap();
    let refused = parts(&rows, 50).find_map(|batch| evaluator.add(&batch, |_| None).err());
    let Some(Error::Diverged { row: Some(row), what: Divergence::LossNotFinite, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(evaluator.finished() + row, 130);
}
