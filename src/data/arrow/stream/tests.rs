use std::io;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int8Array, Int64Array};

use super::super::fixtures::{batch_header, fixed, floats, ints, lists, stream, values};
use super::*;

const NAME: &str = "activations";

/// Batches of 2, 0 and 3 rows of 4 values, the columns in an order of their own.
fn batches() -> Vec<Vec<(&'static str, ArrayRef)>> {
    let batch = |first: usize, rows: usize| {
        let range = first as i64..(first + rows) as i64;
        let positions: ArrayRef = Arc::new(Int64Array::from_iter_values(range.clone()));
        vec![
            ("position", positions),
            ("loss", floats(vec![0.0; rows])),
            (NAME, fixed(floats(values(first, rows, 4)), 4)),
            ("token_ids", ints(range.map(|row| 7 * row as i32))),
        ]
    };
    vec![batch(0, 2), batch(2, 0), batch(2, 3)]
}

fn open(bytes: Vec<u8>) -> Result<ArrowStream> {
    ArrowStream::open(Box::new(Dribble(std::io::Cursor::new(bytes))), NAME)
}

/// A pipe that gives a few bytes at a time.
struct Dribble(std::io::Cursor<Vec<u8>>);

impl Read for Dribble {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(13);
        self.0.read(&mut out[..most])
    }
}

/// The number of rows before the stream ends or fails, and how it fails.
fn drain(bytes: &[u8]) -> (u64, Result<()>) {
    let mut stream = match open(bytes.to_vec()) {
        Ok(stream) => stream,
        Err(error) => return (0, Err(error)),
    };
    let mut chunk = Chunk::default();
    loop {
        match stream.next_into(&mut chunk) {
            Ok(true) => {}
            Ok(false) => return (stream.rows_read(), Ok(())),
            Err(error) => return (stream.rows_read(), Err(error)),
        }
    }
}

fn refusal(bytes: &[u8]) -> String {
    let error = drain(bytes).1.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    error.to_string()
}

#[test]
fn chunks_are_the_batches() {
    let mut stream = open(stream(&batches())).unwrap();
    assert_eq!((stream.width(), stream.dtype()), (4, Dtype::F32));
    let names: Vec<_> = stream.columns().iter().map(|column| (&*column.name, column.dtype)).collect();
    assert_eq!(names, [("position", Some(Dtype::I64)), ("token_ids", Some(Dtype::I32))]);
    let mut chunk = Chunk::default();
    for (first, rows) in [(0, 2), (2, 3)] {
        assert!(stream.next_into(&mut chunk).unwrap());
        assert_eq!(chunk.rows, rows);
        assert_eq!(bytemuck::pod_collect_to_vec::<_, f32>(&chunk.values), values(first, rows, 4));
        let numbers = first as i64..(first + rows) as i64;
        assert!(bytemuck::pod_collect_to_vec::<_, i64>(&chunk.columns[0]).into_iter().eq(numbers.clone()));
        assert!(
            bytemuck::pod_collect_to_vec::<_, i32>(&chunk.columns[1]).into_iter().eq(numbers.map(|n| 7 * n as i32))
        );
    }
    for _ in 0..2 {
        assert!(!stream.next_into(&mut chunk).unwrap());
    }
    assert_eq!(stream.rows_read(), 5);
}

#[test]
fn a_stream_that_ends_early_says_after_which_row() {
    let whole = stream(&batches());
    assert!(matches!(drain(&whole), (5, Ok(()))));
    let mut rows_before = Vec::new();
    for length in 0..whole.len() {
        let (rows, outcome) = drain(&whole[..length]);
        let message = outcome.unwrap_err().to_string();
        let ended = format!("standard input: the stream ended at byte {length}, inside ");
        assert!(message.starts_with(&ended), "{message}");
        let is_in_schema = message.contains("inside its schema");
        assert!(is_in_schema || message.contains(&format!(", after row {rows}: its writer failed")), "{message}");
        rows_before.push(rows);
    }
    rows_before.dedup();
    assert_eq!(rows_before, [0, 2, 5]);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_cure() {
    let rows = || fixed(floats(values(0, 2, 2)), 2);
    let whole = || stream(&batches());
    let nulls: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![Some(1), None]));
    let bytes: ArrayRef = Arc::new(Int8Array::from(vec![1, 2]));
    for (bytes, expected) in [
        (
            stream(&[vec![(NAME, lists(floats(values(0, 2, 2)), &[2, 2]))]]),
            "has column `activations` of list<float32>; a stream's rows are of fixed_size_list",
        ),
        (
            stream(&[vec![(NAME, fixed(rows(), 2))]]),
            "has column `activations` of fixed_size_list<fixed_size_list<float32>[2]>[2]; a stream's rows",
        ),
        (stream(&[vec![("x", ints([1]))]]), "has no column `activations`"),
        (stream(&[vec![(NAME, rows()), ("token_ids", nulls)]]), "has nulls in column `token_ids`"),
        (
            stream(&[vec![(NAME, rows()), ("source", bytes)]]),
            "has column `source` of int8; beside rows it must be of uint8, uint16, or integers of 32 or 64",
        ),
        (
            stream(&[vec![(NAME, rows()), ("source", ints([1, 2])), ("source", ints([1, 2]))]]),
            "has two columns `source`",
        ),
        (batch_header(true, 0), "is compressed (ZSTD)"),
        (batch_header(false, (1 << 30) + 1), "record batch 1 (byte 448) "),
        (batch_header(false, (1 << 30) + 1), "has 1073741825 bytes, more than 1073741824; write smaller batches"),
        (batch_header(false, -1), "has a body of less than no bytes"),
        (batch_header(false, 8), "has 0 arrays and 0 buffers, and its schema says 2 and 3"),
        ([&whole()[..whole().len() - 8], &whole()].concat(), "has a second schema at byte "),
        ([whole(), whole()].concat(), "has bytes behind the marker of its end"),
        (b"\xff\xff\xff\xff\0\0\0\0".to_vec(), "does not start with a schema"),
        (b"ARROW1\0\0".to_vec(), "the message at byte 0 does not start as a message does"),
    ] {
        let message = refusal(&bytes);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.starts_with("standard input: "), "{message}");
    }
}
