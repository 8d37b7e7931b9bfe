use std::io::Cursor;

use super::*;
use crate::data::arrow::fixtures::{fixed, floats, ints, stream as encoded};

const WIDTH: usize = 2;

/// The stream of record batches of 7 rows each, rows `r, -r` of token `r % 5`; row `bad` has a NaN.
fn bytes(rows: usize, bad: Option<usize>) -> Vec<u8> {
    let value = |row: usize, sign: f32| if Some(row) == bad { f32::NAN } else { sign * row as f32 };
    let batches: Vec<_> = (0..rows)
        .collect::<Vec<_>>()
        .chunks(7)
        .map(|rows| {
            let values = rows.iter().flat_map(|&row| [value(row, 1.0), value(row, -1.0)]).collect();
            let tokens = ints(rows.iter().map(|&row| (row % 5) as i32));
            vec![("activations", fixed(floats(values), WIDTH as i32)), ("token_ids", tokens)]
        })
        .collect();
    encoded(&batches)
}

fn open(rows: usize, bad: Option<usize>, filter: StreamFilter) -> RowStream {
    RowStream::open(Box::new(Cursor::new(bytes(rows, bad))), "activations", filter).unwrap()
}

/// The rows of whole batches, from a position on.
fn rows(stream: &RowStream, order: RowOrder, batch: usize, first: u64) -> Vec<u64> {
    let stretch = Stretch { batch, seed: 3, first, steps: u64::MAX / 1000 };
    let batches = stream.batches(order, stretch).unwrap().map(Result::unwrap);
    batches
        .flat_map(|batch| {
            let values = batch.rows.to_f32().into_owned();
            for (row, number) in values.chunks(WIDTH).zip(batch.numbers.iter()) {
                assert_eq!(row, [*number as f32, -(*number as f32)]);
            }
            batch.numbers.to_vec()
        })
        .collect()
}

const MIXED: RowOrder = RowOrder::Mixed { block: 5, blocks: 4 };

#[test]
fn rows_are_mixed_by_windows_and_a_resumed_stream_goes_on_anywhere() {
    let whole = rows(&open(53, None, StreamFilter::default()), MIXED, 4, 0);
    // 13 batches: one row is left over.
    assert_eq!(whole.len(), 52);
    for (window, taken) in whole.chunks(20).enumerate() {
        let mut sorted = taken.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let range = window as u64 * 20..window as u64 * 20 + 20;
        assert!(sorted.len() == taken.len() && sorted.iter().all(|row| range.contains(row)), "{taken:?}");
        assert!(!taken.is_sorted(), "{taken:?}");
    }
    for step in [1, 4, 5, 6, 10, 12] {
        let resumed = rows(&open(53, None, StreamFilter::default()), MIXED, 4, 4 * step);
        assert_eq!(resumed, whole[4 * step as usize..], "step {step}");
    }
    let sequential = rows(&open(53, None, StreamFilter::default()), RowOrder::Sequential { block: 5 }, 4, 8);
    assert!(sequential.into_iter().eq(8..52));
}

#[test]
fn rows_are_left_out_as_they_come() {
    let filter = StreamFilter { exclude_tokens: vec![1, 4], skip_bad: true };
    let stream = open(53, Some(10), filter.clone());
    let mut kept = rows(&stream, MIXED, 1, 0);
    kept.sort_unstable();
    assert!(kept.iter().copied().eq((0..53).filter(|row| row % 5 != 1 && row % 5 != 4 && *row != 10)));
    let exclusion = stream.exclusion();
    assert_eq!((exclusion.rows_excluded_by_token, exclusion.rows_excluded_not_finite), (21, 1));
    // What was left out before a position is not counted in it.
    let resumed = rows(&open(53, Some(10), filter.clone()), MIXED, 1, 7);
    assert_eq!(resumed, rows(&open(53, Some(10), filter), MIXED, 1, 0)[7..]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let stretch = Stretch { batch: 1, seed: 0, first: 0, steps: 100 };
    let stream = open(20, Some(8), StreamFilter::default());
    let message = stream.batches(MIXED, stretch).unwrap().find_map(Result::err).unwrap().to_string();
    let expected = "standard input: column `activations`, row 8, column 0 is NaN: only finite numbers can be used";
    assert!(message.starts_with(expected), "{message}");
    let Err(Error::Config(message)) = stream.batches(MIXED, stretch) else { panic!() };
    assert!(message.contains("was read already"), "{message}");
    let stream = open(20, None, StreamFilter::default());
    let Err(Error::Config(message)) = stream.batches(RowOrder::Rows, stretch) else { panic!() };
    assert!(message.contains("in its own order"), "{message}");
    assert!(stream.batches(MIXED, stretch).is_ok());

    let untold = encoded(&[vec![("activations", fixed(floats(vec![1.0, 2.0]), 2))]]);
    let filter = StreamFilter { exclude_tokens: vec![1], skip_bad: false };
    let error = RowStream::open(Box::new(Cursor::new(untold)), "activations", filter).unwrap_err().to_string();
    assert!(error.contains("has no column `token_ids`"), "{error}");
    let mut cut = bytes(20, None);
    cut.truncate(cut.len() - 40);
    let cut = RowStream::open(Box::new(Cursor::new(cut)), "activations", StreamFilter::default()).unwrap();
    let message = cut.batches(MIXED, stretch).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(message.contains("the stream ended at byte"), "{message}");
}

#[test]
fn streams_are_told_apart_by_their_first_rows_and_schemas() {
    let of = |rows, bad| open(rows, bad, StreamFilter::default()).identity().clone();
    assert_eq!(of(20, None), of(21, None));
    assert_ne!(of(20, None), of(20, Some(3)));
    assert_ne!(of(20, None), of(6, None));
}
