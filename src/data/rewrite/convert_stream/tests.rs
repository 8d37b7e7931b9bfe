use std::io::Cursor;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::data::arrow::fixtures::{fixed, floats, ints, stream as encoded};
use crate::data::{Activations, DataDescription, DataSurvey, StreamFilter, write_converted};
use crate::storage::fixtures::{Tensor, write};

const ROWS: usize = 53;

/// Rows `r, -r` of token `r + 1`, in record batches of 7.
fn stream() -> RowStream {
    let rows: Vec<usize> = (0..ROWS).collect();
    let batches: Vec<_> = rows
        .chunks(7)
        .map(|rows| {
            let values = rows.iter().flat_map(|&row| [row as f32, -(row as f32)]).collect();
            let tokens = ints(rows.iter().map(|&row| row as i32 + 1));
            vec![("activations", fixed(floats(values), 2)), ("token_ids", tokens)]
        })
        .collect();
    let bytes = encoded(&batches);
    RowStream::open(Box::new(Cursor::new(bytes)), "activations", StreamFilter::default()).unwrap()
}

/// The same rows as a file.
fn file(directory: &TempDir) -> Activations {
    let values: Vec<f32> = (0..ROWS).flat_map(|row| [row as f32, -(row as f32)]).collect();
    let tokens: Vec<i32> = (1..=ROWS as i32).collect();
    let tokens = Tensor::new("token_ids", safetensors::Dtype::I32, &[ROWS], bytemuck::cast_slice(&tokens).to_vec());
    let path = directory.path().join("file.safetensors");
    write(&path, &[Tensor::f32("activations", &[ROWS, 2], &values), tokens], &[]);
    Activations::open(&[path]).unwrap()
}

fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (PathBuf::from(path.file_name().unwrap()), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_stream_is_written_as_a_file_of_its_rows_is() {
    for (dtype, shard_rows) in
        [(None, None), (Some(Dtype::F16), Some(10)), (Some(Dtype::BF16), Some(53)), (None, Some(1))]
    {
        let directory = tempfile::tempdir().unwrap();
        let [of_file, of_stream] = ["of-file", "of-stream"].map(|name| directory.path().join(name));
        let options = ConvertOptions { dtype, shard_rows };
        let expected = write_converted(&file(&directory), &of_file, &options, |_| {}).unwrap();
        let mut last = 0;
        let found = write_converted_stream(&stream(), &of_stream, &options, |done| last = done).unwrap();
        assert_eq!((found.rows, found.dtype, found.shards), (expected.rows, expected.dtype, expected.shards));
        assert_eq!(last, ROWS as u64);
        assert!(contents(&of_stream) == contents(&of_file), "{options:?}");
    }
}

#[test]
fn a_stream_is_surveyed_as_a_file_of_its_rows_is() {
    let directory = tempfile::tempdir().unwrap();
    let (data, stream) = (file(&directory), stream());
    let expected = DataSurvey::of(&data, |_| {}).unwrap();
    let (found, bytes) = DataSurvey::of_stream(&stream, |_| {}).unwrap();
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    let description = DataDescription::of_stream(&stream, bytes);
    assert_eq!(description.columns, DataDescription::of(&data).unwrap().columns);
    assert!(bytes > ROWS as u64 * 12);
    assert!(matches!(DataSurvey::of_stream(&stream, |_| {}), Err(Error::Config(_))));
}

#[test]
fn a_stream_that_breaks_off_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let rows = vec![vec![("activations", fixed(floats(vec![0.5; 200]), 2))]; 3];
    let mut bytes = encoded(&rows);
    bytes.truncate(bytes.len() - 300);
    let cut = RowStream::open(Box::new(Cursor::new(bytes)), "activations", StreamFilter::default()).unwrap();
    let options = ConvertOptions { dtype: None, shard_rows: Some(60) };
    let error = write_converted_stream(&cut, &directory.path().join("out"), &options, |_| {}).unwrap_err();
    assert!(error.to_string().contains("standard input: the stream ended at byte"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
