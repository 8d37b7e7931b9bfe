use std::path::PathBuf;

use safetensors::Dtype;
use tempfile::TempDir;

use super::*;
use crate::Error;
use crate::storage::fixtures::{Tensor, write};

/// A file of as many rows as there are `numbers`, which are stored as u8 or u16; without any, of one row and no
/// `source`.
fn write_rows(dir: &TempDir, name: &str, dtype: Dtype, numbers: &[u16], sources: Option<&str>) -> PathBuf {
    let (path, count) = (dir.path().join(name), numbers.len().max(1));
    let bytes = match dtype {
        Dtype::U8 => numbers.iter().map(|&number| number as u8).collect(),
        _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
    };
    let (shape, column) = ([count, 1], [count]);
    let source = (!numbers.is_empty()).then(|| Tensor::new("source", dtype, &column, bytes));
    let values = vec![1.0; count];
    let rows = Tensor::f32("activations", &shape, &values);
    let metadata: Vec<_> = sources.map(|sources| ("sources", sources)).into_iter().collect();
    write(&path, &[rows].into_iter().chain(source).collect::<Vec<_>>(), &metadata);
    path
}

fn open(paths: &[PathBuf]) -> Result<Option<Sources>> {
    Sources::open(Arc::new(Activations::open(paths)?))
}

/// The names of the sources of `rows`.
fn names(sources: &Sources, rows: &[u64]) -> Vec<Option<String>> {
    sources.of(rows).unwrap().into_iter().map(|source| source.map(|source| sources.name(source))).collect()
}

#[test]
fn names_come_from_each_files_own_list() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        write_rows(&dir, "a", Dtype::U8, &[1, 0, 255], Some(r#"["bible", "code, \"quoted\""]"#)),
        write_rows(&dir, "b", Dtype::U16, &[0, 300, 1], Some(" web , bible,,7")),
        write_rows(&dir, "none", Dtype::U8, &[], None),
        write_rows(&dir, "c", Dtype::U8, &[7, 0], None),
        write_rows(&dir, "d", Dtype::U8, &[3, 2, 0], Some("web,bible,,7")),
        write_rows(&dir, "e", Dtype::U8, &[0], Some(r#"{"0": "bible"}"#)),
    ];
    let sources = open(&files).unwrap().unwrap();
    let expected = [
        Some("code, \"quoted\""),
        Some("bible"),
        Some("255"),
        Some("web"),
        Some("300"),
        Some("bible"),
        None,
        Some("7"),
        Some("0"),
        Some("7"),
        Some("2"),
        Some("web"),
        Some("0"),
    ]
    .map(|name| name.map(str::to_owned));
    assert_eq!(names(&sources, &(0..13).collect::<Vec<_>>()), expected);
    assert_eq!(names(&sources, &[12, 2, 5, 6]), [12, 2, 5, 6].map(|row: usize| expected[row].clone()));
    // One name is one source.
    let numbers = sources.of(&[1, 5, 7, 9, 3, 11, 8, 12]).unwrap();
    assert!(numbers.chunks(2).all(|pair| pair[0] == pair[1]), "{numbers:?}");
}

#[test]
fn files_without_sources_have_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(open(&[write_rows(&dir, "a", Dtype::U8, &[], Some("x,y"))]).unwrap().is_none());
}

#[test]
fn numbers_may_be_of_any_type_that_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let open = |dtype, bytes: Vec<u8>| {
        let (path, rows) = (dir.path().join("x"), Tensor::f32("activations", &[2, 1], &[1.0, 2.0]));
        write(&path, &[rows, Tensor::new("source", dtype, &[2], bytes)], &[("sources", "a,b")]);
        open(&[path]).unwrap().unwrap()
    };
    let i64s = |numbers: [i64; 2]| open(Dtype::I64, numbers.map(i64::to_le_bytes).concat());
    let i32s = |numbers: [i32; 2]| open(Dtype::I32, numbers.map(i32::to_le_bytes).concat());
    for sources in [i64s([1, 65_535]), i32s([1, 65_535])] {
        assert_eq!(names(&sources, &[0, 1]), [Some("b".to_owned()), Some("65535".to_owned())]);
    }
    for (sources, value) in [(i64s([1, -1]), "-1"), (i32s([1, 65_536]), "65536"), (i64s([1, 1 << 32]), "4294967296")] {
        assert!(sources.of(&[0]).is_ok());
        let message = sources.of(&[0, 1]).unwrap_err().to_string();
        assert!(message.contains(&format!("`source`, row 1 is {value}; it must be 0 to 65535")), "{message}");
    }
}

#[test]
fn unusable_sources_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (name, dtype, shape, bytes, expected) in [
        ("wrong type", Dtype::F32, &[2][..], 8, "is F32; write it as U8, U16, U32, I32 or I64"),
        ("too long", Dtype::U8, &[3], 3, "shape [3]; it must be [2]"),
        ("rank 0", Dtype::U8, &[], 1, "shape []; it must be [2]"),
    ] {
        let path = dir.path().join(name);
        let rows = Tensor::f32("activations", &[2, 1], &[1.0, 2.0]);
        write(&path, &[rows, Tensor::new("source", dtype, shape, vec![0; bytes])], &[]);
        let error = open(&[path]).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Data { .. }), "{name}: {message}");
        assert!(message.contains(name) && message.contains(expected), "{name}: {message}");
    }
}
