use std::path::PathBuf;

use half::f16;
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use super::*;

const NAME: &str = "activations";

const FLOATS: &str = "message m { \
                      optional group activations (LIST) { repeated group list { optional float element; } } \
                      optional int32 token_ids; }";

/// Lists of those lengths of values that count from `first`, and a token for each.
struct Group {
    first: f32,
    lengths: Vec<usize>,
    has_null: bool,
}

fn uniform(first: usize, rows: usize) -> Group {
    Group { first: (3 * first) as f32, lengths: vec![3; rows], has_null: false }
}

fn file(groups: &[Group], properties: WriterProperties) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(FLOATS).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties.into()).unwrap();
    let mut row = 0;
    for group in groups {
        let starts = group.lengths.iter().flat_map(|&length| (0..length).map(|at| i16::from(at > 0)));
        let starts: Vec<i16> = starts.collect();
        let mut levels = vec![3; starts.len()];
        let mut values: Vec<f32> = (0..starts.len()).map(|at| group.first + at as f32).collect();
        if group.has_null {
            levels[1] = 2;
            values.remove(1);
        }
        let tokens: Vec<i32> = (row..row + group.lengths.len()).map(|row| 7 * row as i32).collect();
        row += tokens.len();
        let mut columns = writer.next_row_group().unwrap();
        write::<FloatType>(&mut columns, &values, &levels, Some(&starts));
        write::<Int32Type>(&mut columns, &tokens, &vec![1; tokens.len()], None);
        columns.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn write<T: parquet::data_type::DataType>(
    columns: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    levels: &[i16],
    starts: Option<&[i16]>,
) {
    let mut column = columns.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, Some(levels), starts).unwrap();
    column.close().unwrap();
}

fn plain() -> WriterProperties {
    WriterProperties::builder().set_dictionary_enabled(false).build()
}

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// What goes wrong when a file is opened, or its first row read.
fn refusal(bytes: &[u8]) -> String {
    let (_dir, path) = written(bytes);
    let opened = ParquetReader::open(&FilePool::new(1), &path, NAME);
    let error = opened.and_then(|reader| reader.read(0, &mut vec![0; reader.row_bytes()])).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    error.to_string()
}

#[test]
fn rows_are_read_across_row_groups() {
    let snappy = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let small_pages = WriterProperties::builder().set_data_page_row_count_limit(1).set_write_batch_size(1);
    let version_2 =
        WriterProperties::builder().set_writer_version(parquet::file::properties::WriterVersion::PARQUET_2_0);
    for properties in [plain(), snappy.build(), small_pages.build(), version_2.build()] {
        let (_dir, path) = written(&file(&[uniform(0, 2), uniform(2, 1), uniform(3, 3)], properties));
        let reader = ParquetReader::open(&FilePool::new(1), &path, NAME).unwrap();
        assert_eq!((reader.rows(), reader.width(), reader.dtype()), (6, 3, Dtype::F32));
        let described: Vec<_> = reader.columns().iter().map(|column| (&*column.name, column.dtype)).collect();
        assert_eq!(described, [("token_ids", Some(Dtype::I32))]);
        for first in 0..6 {
            for count in 0..=6 - first {
                let mut out = vec![0; 12 * count];
                reader.read(first as u64, &mut out).unwrap();
                let expected: Vec<f32> = (3 * first..3 * (first + count)).map(|value| value as f32).collect();
                assert_eq!(bytemuck::pod_collect_to_vec::<_, f32>(&out), expected);
                let mut out = vec![0; 4 * count];
                reader.read_column(0, first as u64, &mut out).unwrap();
                let expected: Vec<i32> = (first..first + count).map(|row| 7 * row as i32).collect();
                assert_eq!(bytemuck::pod_collect_to_vec::<_, i32>(&out), expected);
            }
        }
    }
}

#[test]
fn half_floats_are_read_as_they_are() {
    let schema = "message m { required group x (LIST) { repeated group list { \
                  required fixed_len_byte_array(2) element (FLOAT16); } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, plain().into()).unwrap();
    let mut columns = writer.next_row_group().unwrap();
    let bytes = [1.0, 2.0, 3.0, 4.0].map(|x| f16::from_f32(x).to_le_bytes().to_vec());
    let values = bytes.clone().map(|bytes| FixedLenByteArray::from(ByteArray::from(bytes)));
    write::<FixedLenByteArrayType>(&mut columns, &values, &[1; 4], Some(&[0, 1, 0, 1]));
    columns.close().unwrap();
    let (_dir, path) = written(&writer.into_inner().unwrap());
    let reader = ParquetReader::open(&FilePool::new(1), &path, NAME).unwrap();
    assert_eq!((reader.rows(), reader.width(), reader.dtype(), reader.label()), (2, 2, Dtype::F16, "column `x`"));
    let mut out = [0; 4];
    reader.read(1, &mut out).unwrap();
    assert_eq!(out[..], bytes[2..].concat());
}

#[test]
fn what_cannot_be_read_is_refused_with_its_cure() {
    let ragged = |lengths: &[usize]| Group { lengths: lengths.to_vec(), ..uniform(0, 0) };
    let good = file(&[uniform(0, 2)], plain());
    let scalars = "message m { required float activations; required int32 x; }";
    let lists_of_lists = "message m { repeated group activations { repeated float x; } }";
    let two = "message m { repeated float x; repeated float y; }";
    let empty = |schema: &str| {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        SerializedFileWriter::new(Vec::new(), schema, plain().into()).unwrap().into_inner().unwrap()
    };
    let split = WriterProperties::builder().set_dictionary_enabled(false).set_encoding(Encoding::BYTE_STREAM_SPLIT);
    for (bytes, expected) in [
        (file(&[uniform(0, 2)], split.build()), "has values in an encoding that is not read (9, at byte "),
        (file(&[ragged(&[3, 2])], plain()), "row group 0 has 5 values in 2 lists of column `activations`"),
        (file(&[uniform(0, 2), ragged(&[2])], plain()), "row group 1 has 2 values in 1 lists of column"),
        (file(&[ragged(&[2, 4])], plain()), "row group 0 has lists of several lengths in column `activations`"),
        (file(&[Group { has_null: true, ..uniform(0, 2) }], plain()), "row group 0 has nulls, or lists of several"),
        (file(&[], plain()), "has no rows, so that nothing tells their width"),
        (empty(scalars), "column `activations` is of F32; give a list of float16 or float32 for each row"),
        (empty(lists_of_lists), "column `activations` is of list<list<FLOAT>>; give a list"),
        (empty(two), "has no column `activations` (it has: x (list<F32>), y (list<F32>)); name the one that holds"),
        (empty("message m { required int32 x; }"), "(it has: x (I32)); write one of lists of float16 or float32"),
        (good[..good.len() - 1].to_vec(), "does not end as Parquet does"),
        (b"PAR1PAR1".to_vec(), "has only 8 bytes"),
        (b"PAR1\xff\0\0\0PAR1".to_vec(), "announces a footer of 255 bytes in a file of 12"),
        (b"PAR1\0\0\x02\0\0\0PAR1".to_vec(), "cannot be decoded ("),
    ] {
        let message = refusal(&bytes);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn a_file_with_any_byte_changed_is_read_or_refused() {
    let whole = file(&[uniform(0, 2), uniform(2, 1)], WriterProperties::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    for at in 0..whole.len() {
        for change in [0x01, 0x10, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            std::fs::write(&path, bytes).unwrap();
            let Ok(reader) = ParquetReader::open(&FilePool::new(1), &path, NAME) else { continue };
            if let Ok(bytes) = usize::try_from(reader.rows()).map(|rows| rows.saturating_mul(reader.row_bytes()))
                && bytes < 1 << 20
            {
                let _ = reader.read(0, &mut vec![0; bytes]);
            }
        }
    }
}

#[test]
fn a_panic_of_the_decoder_is_an_error() {
    let (_dir, path) = written(&[]);
    let file = PooledFile::open(&path, &FilePool::new(1)).unwrap();
    let error = contain::<()>(&file, || panic!("as the decoder does")).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("the decoder panicked"), "{error}");
    assert_eq!(contain(&file, || Ok(7)).unwrap(), 7);
}
