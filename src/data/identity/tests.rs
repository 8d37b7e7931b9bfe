use std::fs;

use tempfile::TempDir;

use super::*;
use crate::data::Activations;
use crate::storage::fixtures::{Tensor, write};

const WIDTH: usize = 3;

/// A file to be written: row r of its values is `first + r` thrice, rounded to `dtype`.
#[derive(Clone)]
struct Shard {
    name: &'static str,
    dtype: safetensors::Dtype,
    first: usize,
    rows: usize,
    tokens: Option<fn(usize) -> i32>,
    metadata: &'static [(&'static str, &'static str)],
}

const SHARD: Shard =
    Shard { name: "a", dtype: safetensors::Dtype::F32, first: 0, rows: 100, tokens: None, metadata: &[] };

/// The identities of these files, written anew.
fn identities(shards: &[Shard]) -> Vec<FileIdentity> {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = shards.iter().map(|shard| write_shard(&dir, shard)).collect();
    Activations::open(&paths).unwrap().identity().unwrap()
}

fn write_shard(dir: &TempDir, shard: &Shard) -> PathBuf {
    let path = dir.path().join(shard.name);
    let (shape, column) = ([shard.rows, WIDTH], [shard.rows]);
    let values: Vec<f32> = (0..shard.rows * WIDTH).map(|at| (shard.first + at / WIDTH) as f32).collect();
    let rows = Tensor::float("activations", shard.dtype, &shape, &values);
    let tokens = shard.tokens.map(|token| {
        let bytes = (0..shard.rows).flat_map(|row| token(row).to_le_bytes()).collect();
        Tensor::new("token_ids", safetensors::Dtype::I32, &column, bytes)
    });
    write(&path, &[rows].into_iter().chain(tokens).collect::<Vec<_>>(), shard.metadata);
    path
}

#[test]
fn what_differs_first_is_named() {
    let f16 = Shard { dtype: safetensors::Dtype::F16, ..SHARD };
    let other = Shard { first: 1, ..SHARD };
    let more_rows = Shard { rows: 101, ..SHARD };
    let [front, back] = [Shard { rows: 50, ..SHARD }, Shard { name: "b", first: 50, rows: 50, ..SHARD }];
    let b = Shard { name: "b", first: 700, ..SHARD };
    let tokens = Shard { tokens: Some(|row| row as i32), ..SHARD };
    let other_tokens = Shard { tokens: Some(|row| row as i32 + i32::from(row == 99)), ..SHARD };
    let named = Shard { metadata: &[("model_name", "m")], ..SHARD };
    for (before, now, expected) in [
        (&[SHARD][..], &[other][..], "file 1, `a`: other values"),
        (&[SHARD], &[f16], "file 1, `a`: F16, was F32"),
        (&[SHARD], &[more_rows], "file 1, `a`: 101 rows, had 100"),
        (&[SHARD], &[front, back], "file 1, `a`: 50 rows, had 100 (2 files, had 1)"),
        (std::slice::from_ref(&tokens), &[other_tokens], "file 1, `a`: other values"),
        (std::slice::from_ref(&tokens), &[SHARD], "file 1, `a`: other values"),
        (&[SHARD], &[named], "file 1, `a`: the same rows under another header (metadata, or tensors beside them)"),
        (&[SHARD], &[SHARD, b.clone()], "a file more: file 2, `b` (2 files, had 1)"),
        (&[SHARD, b.clone()], &[SHARD], "a file fewer: file 2, `b` (1 file, had 2)"),
        (
            &[SHARD, b.clone()],
            &[b, SHARD],
            "file 1, `b`: other values (what it held is now file 2: the order is another)",
        ),
    ] {
        let difference = first_difference(&identities(before), &identities(now));
        assert_eq!(difference.as_deref(), Some(expected));
    }
}

#[test]
fn every_sampled_row_counts() {
    let before = identities(&[SHARD]);
    let dir = tempfile::tempdir().unwrap();
    let path = write_shard(&dir, &SHARD);
    let whole = fs::read(&path).unwrap();
    let changed = |row: usize| {
        let mut bytes = whole.clone();
        let at = bytes.len() - (100 - row) * 4 * WIDTH;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let now = Activations::open(std::slice::from_ref(&path)).unwrap().identity().unwrap();
        first_difference(&before, &now).is_some()
    };
    assert!(changed(0) && changed(99));
    assert_eq!((0..100).filter(|&row| changed(row)).count(), 64);
}

/// A name of the metadata has no place in a file, so writing a file twice may change their order.
#[test]
fn the_same_content_elsewhere_is_no_difference() {
    let shard = Shard {
        tokens: Some(|row| row as i32),
        metadata: &[("model_name", "m"), ("hook_name", "h"), ("x", "y"), ("z", "")],
        ..SHARD
    };
    let before = identities(&[shard.clone(), Shard { name: "b", rows: 1, ..SHARD }]);
    let now = identities(&[Shard { name: "elsewhere", ..shard }, Shard { name: "c", rows: 1, ..SHARD }]);
    assert_ne!(before, now);
    assert_eq!(first_difference(&before, &now), None);
    let text = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<Vec<FileIdentity>>(&text).unwrap(), before);
}

#[test]
fn samples_are_spread_evenly() {
    assert_eq!(sampled(0).count(), 0);
    assert!(sampled(1).eq([0]) && sampled(3).eq([0, 1, 2]) && sampled(64).eq(0..64));
    let rows: Vec<_> = sampled(u64::MAX).collect();
    assert_eq!((rows.len(), rows[0], rows[63]), (64, 0, u64::MAX - 1));
    assert!(rows.is_sorted_by(|row, next| row < next));
}
