use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{FixedSizeListBuilder, Float32Builder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Float16Array, Float64Array, StringArray, StringViewArray, UInt16Array};
use arrow_schema::{Field, Schema as ArrowSchema};
use half::f16;
use tempfile::TempDir;

use super::super::fixtures::{
    batch_header, file, fixed, floats, ints, large_lists, lists, schema, stream, stream_of, values,
};
use super::*;

const NAME: &str = "activations";

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data-00000-of-00001.arrow");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn open(bytes: &[u8]) -> Result<ArrowReader> {
    let (_dir, path) = written(bytes);
    ArrowReader::open(&FilePool::new(1), &path, NAME)
}

fn refusal(bytes: &[u8]) -> String {
    let error = open(bytes).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    error.to_string()
}

fn rows(reader: &ArrowReader, first: u64, count: usize) -> Vec<f32> {
    let mut out = vec![0; count * reader.row_bytes()];
    reader.read(first, &mut out).unwrap();
    bytemuck::pod_collect_to_vec(&out)
}

fn column<T: bytemuck::Pod>(reader: &ArrowReader, name: &str, first: u64, count: usize) -> Vec<T> {
    let at = reader.columns.iter().position(|column| column.name == name).unwrap();
    let mut out = vec![0; count * reader.columns[at].row_bytes(reader.rows()).unwrap()];
    reader.read_column(at, first, &mut out).unwrap();
    bytemuck::pod_collect_to_vec(&out)
}

/// Batches of 2, 0, 1 and 3 rows of 4 values, in the lists that `wrap` makes.
fn batches(wrap: impl Fn(ArrayRef, usize) -> ArrayRef) -> Vec<Vec<(&'static str, ArrayRef)>> {
    let batch = |first: usize, rows: usize| {
        let tokens = ints((first..first + rows).map(|row| 7 * row as i32));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"; rows]));
        vec![("text", text), (NAME, wrap(floats(values(first, rows, 4)), rows)), ("token_ids", tokens)]
    };
    vec![batch(0, 2), batch(2, 0), batch(2, 1), batch(3, 3)]
}

#[test]
fn rows_are_read_across_batches() {
    let fixed_lists = batches(|items, _| fixed(items, 4));
    for bytes in [
        stream(&fixed_lists),
        file(&fixed_lists),
        stream(&batches(|items, rows| lists(items, &vec![4; rows]))),
        stream(&batches(|items, rows| large_lists(items, &vec![4; rows]))),
    ] {
        let (_dir, path) = written(&bytes);
        let reader = ArrowReader::open(&FilePool::new(1), &path, NAME).unwrap();
        assert_eq!((reader.rows(), reader.width(), reader.dtype()), (6, 4, Dtype::F32));
        assert_eq!(reader.label(), "column `activations`");
        for first in 0..6 {
            for count in 0..=6 - first {
                assert_eq!(rows(&reader, first as u64, count), values(first, count, 4));
                let tokens: Vec<i32> = (first..first + count).map(|row| 7 * row as i32).collect();
                assert_eq!(column::<i32>(&reader, "token_ids", first as u64, count), tokens);
            }
        }
        let names: Vec<_> = reader.columns.iter().map(|column| (&*column.name, column.dtype, &column.shape)).collect();
        assert_eq!(names, [("text", None, &vec![6]), ("token_ids", Some(Dtype::I32), &vec![6])]);
        assert!(reader.metadata().is_empty());
    }
}

/// As SAELens caches activations: two contexts of 3 tokens, and one more in a batch of its own.
fn contexts() -> Vec<Vec<(&'static str, ArrayRef)>> {
    let batch = |first: usize, contexts: usize| {
        let rows = lists(floats(values(3 * first, 3 * contexts, 2)), &vec![2; 3 * contexts]);
        let tokens = ints((3 * first..3 * (first + contexts)).map(|row| row as i32));
        vec![("blocks.0.hook", lists(rows, &vec![3; contexts])), ("token_ids", fixed(tokens, 3))]
    };
    vec![batch(0, 2), batch(2, 1)]
}

#[test]
fn contexts_are_rows_one_after_another() {
    let metadata = [("model_name", "gpt2"), ("huggingface", "{}")];
    let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    let lists = contexts();
    let bytes = stream_of(schema(&lists[0]).with_metadata(metadata), &lists);
    let (_dir, path) = written(&bytes);
    let reader = ArrowReader::open(&FilePool::new(1), &path, NAME).unwrap();
    assert_eq!((reader.rows(), reader.width()), (9, 2));
    for first in 0..9 {
        for count in 0..=9 - first {
            assert_eq!(rows(&reader, first as u64, count), values(first, count, 2));
            let numbers = first as u32..(first + count) as u32;
            let expected = |of: fn(u32) -> u32| numbers.clone().map(of).collect::<Vec<_>>();
            assert_eq!(column::<u32>(&reader, "token_ids", first as u64, count), expected(|row| row));
            assert_eq!(column::<u32>(&reader, "sequence", first as u64, count), expected(|row| row / 3));
            assert_eq!(column::<u32>(&reader, "position", first as u64, count), expected(|row| row % 3));
        }
    }
    let metadata: Vec<_> = reader.metadata().iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(metadata, [("context_size", "3"), ("hook_name", "blocks.0.hook"), ("model_name", "gpt2")]);
    assert_ne!(reader.header_checksum(), open(&stream(&lists)).unwrap().header_checksum());
}

#[test]
fn contexts_may_be_of_a_type_that_says_their_length() {
    let rows_of = |first: usize| fixed(fixed(floats(values(first, 6, 2)), 2), 3);
    let per_context = |first: i32| ints([first, first + 1]);
    let batch = |first| vec![(NAME, rows_of(first)), ("document", per_context(first as i32))];
    let (_dir, path) = written(&stream(&[batch(0), batch(6)]));
    let reader = ArrowReader::open(&FilePool::new(1), &path, NAME).unwrap();
    assert_eq!((reader.rows(), reader.width()), (12, 2));
    assert_eq!(rows(&reader, 0, 12), values(0, 12, 2));
    assert_eq!(reader.columns[0].shape, [4]);
    assert_eq!(reader.columns[0].row_bytes(12), None);
    assert_eq!(reader.metadata()["context_size"], "3");
    assert_eq!(reader.metadata().get("hook_name"), None);
}

#[test]
fn half_floats_are_read_as_they_are() {
    let halves = |bits: &[u16]| fixed(Arc::new(UInt16Array::from(bits.to_vec())), 2);
    let bits = [0x3f80, 0x4000, 0x4040, 0x4080];
    let field = |metadata: &[(&str, &str)]| {
        let metadata: HashMap<String, String> =
            metadata.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        ArrowSchema::new(vec![Field::new(NAME, halves(&bits).data_type().clone(), true).with_metadata(metadata)])
    };
    let batches = [vec![(NAME, halves(&bits))]];
    let (_dir, path) = written(&stream_of(field(&[("dtype", "bfloat16")]), &batches));
    let reader = ArrowReader::open(&FilePool::new(1), &path, NAME).unwrap();
    assert_eq!(reader.dtype(), Dtype::BF16);
    let mut out = [0; 4];
    reader.read(1, &mut out).unwrap();
    assert_eq!(out, bytemuck::cast::<_, [u8; 4]>([bits[2], bits[3]]));
    let message = refusal(&stream_of(field(&[]), &batches));
    assert!(message.contains("column `activations` is fixed_size_list<uint16>[2]; 16-bit integers"), "{message}");

    let floats = Float16Array::from_iter_values([1.0, 2.0].map(f16::from_f32));
    assert_eq!(open(&stream(&[vec![(NAME, fixed(Arc::new(floats), 2))]])).unwrap().dtype(), Dtype::F16);
}

#[test]
fn columns_that_cannot_be_read_say_so() {
    let nulls: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![Some(1), None]));
    let words: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter(["a", "b"]));
    let batch = vec![
        (NAME, fixed(floats(values(0, 2, 2)), 2)),
        ("nulls", nulls),
        ("ragged", lists(ints([1, 2, 3]), &[1, 2])),
        ("words", words),
        ("pairs", fixed(ints([1, 2, 3, 4]), 2)),
    ];
    let (_dir, path) = written(&stream(&[batch]));
    let reader = ArrowReader::open(&FilePool::new(1), &path, NAME).unwrap();
    let described: Vec<_> = reader.columns.iter().map(|column| (&*column.type_name, column.dtype)).collect();
    let expected = [
        ("int32 with nulls", None),
        ("list<int32> of several lengths", None),
        ("dictionary", None),
        ("fixed_size_list<int32>[2]", Some(Dtype::I32)),
    ];
    assert_eq!(described, expected);
    assert_eq!(column::<i32>(&reader, "pairs", 1, 1), [3, 4]);
    let message = reader.read_column(0, 0, &mut [0; 4]).unwrap_err().to_string();
    assert!(message.contains("column `nulls` is of a type that cannot be read"), "{message}");
}

#[test]
fn what_cannot_be_read_is_refused_with_its_cure() {
    let rows = || fixed(floats(values(0, 2, 2)), 2);
    let one = |name: &'static str, array: ArrayRef| stream(&[vec![(name, array)]]);
    let mut nulls = FixedSizeListBuilder::new(Float32Builder::new(), 2);
    for valid in [true, false] {
        nulls.values().append_slice(&[1.0, 2.0]);
        nulls.append(valid);
    }
    let null_values: ArrayRef = Arc::new(arrow_array::Float32Array::from(vec![Some(1.0), None]));
    let doubles: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
    let views: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b"]));
    let ragged = || lists(floats(values(0, 1, 5)), &[2, 3]);
    let (two, three) = (lists(floats(values(0, 1, 2)), &[2]), lists(floats(values(0, 1, 3)), &[3]));
    for (bytes, expected) in [
        (one(NAME, doubles.clone()), "is float64; give each row a list"),
        (one(NAME, fixed(doubles, 2)), "is fixed_size_list<float64>[2]; convert it: x.astype('float32')"),
        (one(NAME, ints([1])), "column `activations` is int32; give each row a list"),
        (one(NAME, fixed(ints([1, 2]), 2)), "give lists of float16 or float32"),
        (one(NAME, fixed(fixed(rows(), 1), 1)), "give rows as lists [width], or contexts as lists [tokens]"),
        (one(NAME, Arc::new(StringArray::from(vec!["a"]))), "column `activations` is string; give lists of float16"),
        (one("x\n", ints([1])), "has no column `activations` (it has: x\\n (int32)); lists of float16 or float32"),
        (
            stream(&[vec![("x", rows()), ("y", rows())]]),
            "has no column `activations` (it has: x (fixed_size_list<float32>[2]), y (fixed_size_list<float32>[2])); \
             name the one that holds the rows with --tensor",
        ),
        (stream(&[vec![(NAME, rows()), (NAME, rows())]]), "has two columns `activations`; rename one"),
        (one(NAME, Arc::new(nulls.finish())), "has nulls in column `activations`; leave those rows out"),
        (one(NAME, fixed(null_values, 2)), "has nulls in column `activations`"),
        (one(NAME, ragged()), "has 3 items in list 1 of column `activations`, and 2 in those before it"),
        (one(NAME, lists(ragged(), &[2])), "has 3 items in list 1 of column `activations`"),
        (
            stream(&[vec![(NAME, two)], vec![(NAME, three)]]),
            ") has 3 items in list 0 of column `activations`, and 2 in those before it; give lists of one length",
        ),
        (one(NAME, lists(floats(vec![]), &[0, 0])), "column `activations` has empty lists"),
        (one(NAME, lists(floats(vec![]), &[])), "has no rows, so that nothing tells their width"),
        (
            stream(&[vec![(NAME, rows()), ("text", views)]]),
            "column `text` is of a type that is not known here (Utf8View); write the file without that column",
        ),
    ] {
        let message = refusal(&bytes);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    assert_eq!(open(&one(NAME, fixed(floats(vec![]), 2))).unwrap().rows(), 0);
}

#[test]
fn a_compressed_batch_is_refused() {
    // The writer is not built with the codecs.
    let message = refusal(&batch_header(true, 0));
    let expected = "is compressed (ZSTD), and rows are read by position; write it without compression";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for whole in [stream(&contexts()), file(&contexts())] {
        assert!(open(&whole).is_ok());
        for length in 0..whole.len() {
            let message = refusal(&whole[..length]);
            let expected = [
                "was cut short: ",
                "without the marker of its end: its writer failed, or it was cut short",
                "does not start as a message does",
            ];
            assert!(expected.iter().any(|expected| message.contains(expected)), "{length}: {message}");
        }
    }
    let whole = stream(&contexts());
    let message = refusal(&[&whole[..whole.len() - 8], &whole].concat());
    assert!(message.contains(&format!("the message at byte {} is a second schema", whole.len() - 8)), "{message}");
    let message = refusal(&[whole, vec![0; 8]].concat());
    assert!(message.contains("has bytes behind the marker of its end"), "{message}");
}

#[test]
fn a_file_with_any_byte_changed_is_read_or_refused() {
    let whole = stream(&contexts());
    let mut refused = 0;
    for at in 0..whole.len() {
        for change in [0x01, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            let (_dir, path) = written(&bytes);
            match ArrowReader::open(&FilePool::new(1), &path, NAME) {
                Ok(reader) if reader.rows() < 1000 => {
                    let mut out = vec![0; reader.rows() as usize * reader.row_bytes()];
                    reader.read(0, &mut out).unwrap();
                }
                Ok(reader) => panic!("{at}: {} rows", reader.rows()),
                Err(error) => {
                    assert_eq!(error.exit_code(), 3);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn what_starts_as_no_message_is_refused() {
    for (bytes, expected) in [
        (b"\x10\0\0\0\0\0\0\0\0\0\0\0".to_vec(), "the message at byte 0 does not start as a message does"),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            "announces a header of 4294967295 bytes, more than the 16777216 that are read",
        ),
        (b"\xff\xff\xff\xff\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "has a damaged header ("),
        (b"\xff\xff\xff\xff\0\0\0\0".to_vec(), "does not start with a schema"),
        (vec![], "without the marker of its end"),
    ] {
        let message = refusal(&bytes);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}
