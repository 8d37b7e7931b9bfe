use std::path::PathBuf;

use safetensors::Dtype as Stored;
use tempfile::TempDir;

use super::*;
use crate::storage::fixtures::{Tensor, write};

fn file(directory: &TempDir, name: &str, dtype: Stored, values: &[f32], rest: &[Tensor<'_>], facts: &[(&str, &str)]) {
    let shape = [values.len() / 2, 2];
    let mut tensors = vec![Tensor::float("activations", dtype, &shape, values)];
    tensors.extend(rest.iter().cloned());
    write(&directory.path().join(name), &tensors, facts);
}

fn convert(directory: &TempDir, names: &[&str], options: &ConvertOptions) -> Result<Conversion> {
    let paths: Vec<PathBuf> = names.iter().map(|name| directory.path().join(name)).collect();
    let data = Activations::open(&paths).unwrap();
    write_converted(&data, &directory.path().join("out"), options, |_| {})
}

/// Types and values of the files that were written.
fn written(directory: &TempDir) -> Vec<(Dtype, Vec<f32>)> {
    let data = Activations::open(&[directory.path().join("out")]).unwrap();
    let read = |reader: &dyn Reader| {
        let count = reader.rows() as usize * 2;
        let mut bytes = vec![0; count * reader.dtype().bytes()];
        reader.read(0, &mut bytes).unwrap();
        let mut values = vec![0.0; count];
        let mut words = vec![0_u32; bytes.len().div_ceil(4)];
        let aligned = &mut bytemuck::cast_slice_mut(&mut words)[..bytes.len()];
        aligned.copy_from_slice(&bytes);
        decode(reader.dtype(), aligned, &mut values);
        (reader.dtype(), values)
    };
    data.readers().map(|(reader, _)| read(reader)).collect()
}

fn to(dtype: Dtype) -> ConvertOptions {
    ConvertOptions { dtype: Some(dtype), shard_rows: None }
}

#[test]
fn values_are_rounded_to_the_nearest() {
    // bf16 has 8 bits of precision, f16 has 11: ties go to the even neighbour.
    let values = [1.0 + 0.003_906_25, 1.0 + 3.0 * 0.003_906_25, 1.0 + 0.000_488_281_25, -65_504.0, 1e-9, -3.5];
    for (dtype, expected) in [
        (Dtype::F32, values.to_vec()),
        (Dtype::BF16, values.iter().map(|&value| bf16::from_f32(value).to_f32()).collect()),
        (Dtype::F16, values.iter().map(|&value| f16::from_f32(value).to_f32()).collect()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        file(&directory, "a", Stored::F32, &values, &[], &[]);
        let result = convert(&directory, &["a"], &to(dtype)).unwrap();
        assert_eq!((result.rows, result.dtype, result.shards), (3, dtype, 1));
        assert_eq!(written(&directory), [(dtype, expected.clone())]);
        match dtype {
            Dtype::BF16 => assert_eq!(expected[..2], [1.0, 1.015_625]),
            Dtype::F16 => assert_eq!(expected[2], 1.0),
            _ => {}
        }
    }
}

#[test]
fn rows_keep_their_order_over_files_and_shards() {
    let directory = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..22).map(|value| value as f32).collect();
    file(&directory, "a", Stored::F16, &values[..6], &[], &[("a", "1"), ("b", "2"), ("shuffle_rows", "3")]);
    file(&directory, "b", Stored::F32, &values[6..], &[], &[("a", "1"), ("b", "3"), ("shuffle_rows", "3")]);
    let message = convert(&directory, &["a", "b"], &ConvertOptions::default()).unwrap_err().to_string();
    assert!(message.contains("choose one with --dtype"), "{message}");
    let options = ConvertOptions { shard_rows: Some(4), ..to(Dtype::BF16) };
    let result = convert(&directory, &["a", "b"], &options).unwrap();
    assert_eq!((result.rows, result.shards), (11, 3));
    assert_eq!(result.notes, ["metadata that differs between the files is left out: `b`"]);
    let shards = written(&directory);
    assert_eq!(shards.iter().map(|(_, values)| values.len()).collect::<Vec<_>>(), [8, 8, 6]);
    assert_eq!(shards.into_iter().flat_map(|(_, values)| values).collect::<Vec<_>>(), values);
    let data = Activations::open(&[directory.path().join("out")]).unwrap();
    for (reader, _) in data.readers() {
        // Two sets of three rows are not one that was shuffled.
        assert_eq!(reader.metadata().iter().collect::<Vec<_>>(), [(&"a".to_owned(), &"1".to_owned())]);
    }
    let many = ConvertOptions { shard_rows: Some(0), dtype: None };
    assert!(matches!(convert(&directory, &["a"], &many), Err(Error::Exists { .. })));
}

#[test]
fn columns_that_the_files_share_go_along() {
    let directory = tempfile::tempdir().unwrap();
    let tensor = |name, dtype, shape, bytes: &[u8]| Tensor::new(name, dtype, shape, bytes.to_vec());
    let first = [
        tensor("token_ids", Stored::I32, &[2], &[1, 0, 0, 0, 255, 255, 255, 255]),
        tensor("scores", Stored::F32, &[2], &[0; 8]),
        tensor("wide", Stored::U8, &[2, 3], &[1, 2, 3, 4, 5, 6]),
        tensor("mean", Stored::F32, &[1], &[0; 4]),
    ];
    let second = [
        tensor("token_ids", Stored::U32, &[1], &[255, 255, 255, 255]),
        tensor("scores", Stored::F16, &[1], &[0; 2]),
        tensor("wide", Stored::U8, &[1, 3], &[7, 8, 9]),
        tensor("extra", Stored::U8, &[1], &[0]),
    ];
    file(&directory, "a", Stored::F32, &[0.0; 4], &first, &[]);
    file(&directory, "b", Stored::F32, &[0.0; 2], &second, &[]);
    let notes = convert(&directory, &["a", "b"], &ConvertOptions::default()).unwrap().notes;
    assert_eq!(
        notes,
        [
            "`mean` is not carried along: it has not one entry for each row, or a type that cannot be copied",
            "`extra` is not carried along: not every file has it in one form",
            "`scores` is not carried along: not every file has it in one form",
        ]
    );
    let data = Activations::open(&[directory.path().join("out")]).unwrap();
    let (reader, _) = data.readers().next().unwrap();
    let column = |name: &str, bytes: usize| {
        let place = reader.columns().iter().position(|column| column.name == name).unwrap();
        let mut values = vec![0; bytes];
        reader.read_column(place, 0, &mut values).unwrap();
        (reader.columns()[place].dtype, values)
    };
    let tokens = [1_i64, -1, i64::from(u32::MAX)].iter().flat_map(|token| token.to_le_bytes()).collect();
    assert_eq!(column("token_ids", 24), (Some(Dtype::I64), tokens));
    assert_eq!(column("wide", 9), (Some(Dtype::U8), (1..=9).collect()));
    assert_eq!(reader.columns().len(), 2);
}

#[test]
fn what_the_type_does_not_hold_is_refused_by_row() {
    let directory = tempfile::tempdir().unwrap();
    for (value, dtype, words) in [
        (65_520.0, Dtype::F16, "is 6.552e4, too large for F16; convert to bf16 or f32, or remove the row"),
        (-f32::MAX, Dtype::BF16, "too large for BF16; convert to f32, or remove the row"),
        (f32::INFINITY, Dtype::F32, "is inf: only finite numbers can be used"),
        (f32::NAN, Dtype::F16, "is NaN: only finite numbers can be used"),
    ] {
        file(&directory, "a\n", Stored::F32, &[1.0, 1.0, 1.0, 1.0, 1.0, value], &[], &[]);
        let error = convert(&directory, &["a\n"], &to(dtype)).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let message = error.to_string();
        assert!(
            message.contains("a\\n: tensor `activations`, row 2, column 1 ") && message.contains(words),
            "{message}"
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "something is left");
    }
    file(&directory, "a", Stored::F32, &[65_519.0, 0.0], &[], &[]);
    convert(&directory, &["a"], &to(Dtype::F16)).unwrap();
    assert_eq!(written(&directory)[0].1, [65_504.0, 0.0]);
}
