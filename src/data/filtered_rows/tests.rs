use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use tempfile::TempDir;

use super::*;
use crate::storage::fixtures::{Tensor, write};

fn token_bytes(tokens: &[i32]) -> Vec<u8> {
    tokens.iter().flat_map(|token| token.to_le_bytes()).collect()
}

/// A file of one column with these norms and tokens.
fn write_rows(dir: &TempDir, name: &str, values: &[f32], tokens: &[i32]) -> PathBuf {
    let (path, count) = (dir.path().join(name), values.len());
    let (shape, column) = ([count, 1], [count]);
    let activations = Tensor::f32("activations", &shape, values);
    write(&path, &[activations, Tensor::new("token_ids", Dtype::I32, &column, token_bytes(tokens))], &[]);
    path
}

fn open(paths: &[PathBuf]) -> Arc<Activations> {
    Arc::new(Activations::open(paths).unwrap())
}

/// Rows of norm 1 to 9, the row after row r being of token r % 3.
fn nine(dir: &TempDir) -> Arc<Activations> {
    let first = write_rows(dir, "first", &[1.0, -2.0, 3.0, 4.0], &[0, 1, 2, 0]);
    open(&[first, write_rows(dir, "second", &[5.0, 6.0, 7.0, 8.0, -9.0], &[1, 2, 0, 1, -2])])
}

fn filter(exclude_tokens: &[i32], max_norm: Option<f64>) -> RowFilter {
    RowFilter { exclude_tokens: exclude_tokens.into(), max_norm, skip_bad: false }
}

fn selected(selection: &FilteredRows) -> Vec<u64> {
    (0..selection.rows()).map(|place| selection.row(place)).collect()
}

#[test]
fn rows_are_left_out_by_token_and_by_norm() {
    let dir = tempfile::tempdir().unwrap();
    let data = nine(&dir);
    let all: Range<u64> = 0..9;
    // The median norm is 5. A row that both leave out counts as left out by its token.
    let cases: [(RowFilter, &[u64], [u64; 2]); 7] = [
        (filter(&[], None), &all.collect::<Vec<_>>(), [0, 0]),
        (filter(&[0], None), &[1, 2, 4, 5, 7, 8], [3, 0]),
        (filter(&[1, 0, 1, 77], None), &[2, 5, 8], [6, 0]),
        (filter(&[-2], None), &[0, 1, 2, 3, 4, 5, 6, 7], [1, 0]),
        (filter(&[], Some(1.4)), &[0, 1, 2, 3, 4, 5, 6], [0, 2]),
        (filter(&[1], Some(1.4)), &[0, 2, 3, 5, 6], [3, 1]),
        (filter(&[2], Some(0.2)), &[0], [2, 6]),
    ];
    for (filter, expected, [by_token, by_norm]) in cases {
        let selection = FilteredRows::new(data.clone(), &filter).unwrap();
        assert_eq!(selected(&selection), expected, "{filter:?}");
        let counts =
            Exclusion { rows_excluded_by_token: by_token, rows_excluded_by_norm: by_norm, rows_excluded_not_finite: 0 };
        assert_eq!(selection.exclusion(), counts, "{filter:?}");
    }
}

/// Rows that are not finite are left out, and count for no median.
#[test]
fn bad_rows_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let values = [1.0, f32::NAN, 2.0, f32::INFINITY, 50.0, 3.0, f32::NEG_INFINITY];
    let data = open(&[write_rows(&dir, "bad", &values, &[0, 1, 1, 0, 0, 0, 0])]);
    let error = FilteredRows::new(data.clone(), &filter(&[], Some(10.0))).unwrap_err();
    assert!(error.to_string().contains("row 1, column 0 is NaN"), "{error}");
    for (tokens, limit, expected, [by_token, by_norm, bad]) in [
        (&[][..], None, &[0, 2, 4, 5][..], [0, 0, 3]),
        (&[], Some(10.0), &[0, 2, 5], [0, 1, 3]),
        (&[1], Some(10.0), &[0, 5], [2, 1, 2]),
    ] {
        let filter = RowFilter { skip_bad: true, ..filter(tokens, limit) };
        let cache = dir.path().join("cache");
        for _ in 0..2 {
            let selection = FilteredRows::remembered(data.clone(), &filter, &cache, |problem| panic!("{problem}"));
            let selection = selection.unwrap();
            assert_eq!(selected(&selection), expected, "{filter:?}");
            let counts = Exclusion {
                rows_excluded_by_token: by_token,
                rows_excluded_by_norm: by_norm,
                rows_excluded_not_finite: bad,
            };
            assert_eq!(selection.exclusion(), counts, "{filter:?}");
        }
    }
}

#[test]
fn nothing_left_out_is_every_row() {
    let data = nine(&tempfile::tempdir().unwrap());
    assert_eq!(selected(&data.into()), (0..9).collect::<Vec<_>>());
}

#[test]
fn long_files_are_read_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let rows = CHUNK as usize * 2 + 3;
    let values: Vec<f32> = (0..rows).map(|row| if row % 1000 == 999 { 1e6 } else { 1.0 }).collect();
    let tokens: Vec<i32> = (0..rows as i32).map(|row| if row % 500 == 0 { 7 } else { row }).collect();
    let data = open(&[write_rows(&dir, "long", &values, &tokens)]);
    let selection = FilteredRows::new(data, &filter(&[7], Some(100.0))).unwrap();
    let expected = (0..rows as u64).filter(|row| row % 500 != 0 && row % 1000 != 999 && *row != 7);
    assert!(selected(&selection).into_iter().eq(expected));
}

#[test]
fn unusable_filters_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = nine(&dir);
    let zeros = open(&[write_rows(&dir, "zeros", &[0.0, 0.0, 1.0], &[0, 0, 0])]);
    for (data, filter, expected) in [
        (&data, filter(&[], Some(0.0)), "0 times"),
        (&data, filter(&[], Some(-1.0)), "-1 times"),
        (&data, filter(&[], Some(f64::NAN)), "NaN times"),
        (&data, filter(&[], Some(f64::INFINITY)), "inf times"),
        (&data, filter(&[0, 1, 2, -2], None), "all 9 rows are left out, 9 by token, 0 by norm"),
        (&data, filter(&[0], Some(1e-3)), "all 9 rows are left out, 3 by token, 6 by norm"),
        (&zeros, filter(&[], Some(10.0)), "median norm of the rows is 0"),
    ] {
        let Err(Error::Config(message)) = FilteredRows::new(data.clone(), &filter) else { panic!("{filter:?}") };
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn unusable_token_ids_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let good = write_rows(&dir, "good", &[1.0, 2.0], &[0, 1]);
    let tensor = |dtype, shape: &'static [usize], bytes| Some(Tensor::new("token_ids", dtype, shape, vec![0; bytes]));
    for (name, tensor, expected) in [
        ("missing", None, "has no tensor `token_ids`"),
        ("wrong type", tensor(Dtype::F32, &[2], 8), "is F32; write it as U8, U16, U32, I32 or I64"),
        ("unsigned", tensor(Dtype::U64, &[2], 16), "is U64; write it as U8"),
        ("too short", tensor(Dtype::I32, &[1], 4), "shape [1]; it must be [2]"),
        ("rank 2", tensor(Dtype::I32, &[2, 1], 8), "shape [2, 1]; it must be [2]"),
    ] {
        let path = dir.path().join(name);
        let rows = Tensor::f32("activations", &[2, 1], &[1.0, 2.0]);
        write(&path, &[rows].into_iter().chain(tensor).collect::<Vec<_>>(), &[]);
        let data = open(&[good.clone(), path]);
        let error = FilteredRows::new(data.clone(), &filter(&[1], None)).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Data { .. }), "{name}: {message}");
        assert!(message.contains(name) && message.contains(expected), "{name}: {message}");
        // What nobody asks for is not looked at.
        FilteredRows::new(data, &filter(&[], Some(9.0))).unwrap();
    }
}

#[test]
fn tokens_may_be_any_integers_that_fit() {
    fn bytes<T: bytemuck::NoUninit>(tokens: [T; 3]) -> Vec<u8> {
        bytemuck::cast_slice(&tokens).to_vec()
    }
    let dir = tempfile::tempdir().unwrap();
    let select = |dtype, tokens: Vec<u8>, exclude: i32| {
        let path = dir.path().join("x");
        let rows = Tensor::f32("activations", &[3, 1], &[1.0; 3]);
        write(&path, &[rows, Tensor::new("token_ids", dtype, &[3], tokens)], &[]);
        FilteredRows::new(open(&[path]), &filter(&[exclude], None)).map(|selection| selected(&selection))
    };
    let most = i32::MAX;
    for (dtype, tokens, exclude) in [
        (Dtype::U8, bytes([1_u8, 255, 0]), 255),
        (Dtype::U16, bytes([1_u16, 65_535, 0]), 65_535),
        (Dtype::U32, bytes([1_u32, most as u32, 0]), most),
        (Dtype::I64, bytes([1_i64, most.into(), 0]), most),
        (Dtype::I64, bytes([1_i64, i32::MIN.into(), 0]), i32::MIN),
    ] {
        assert_eq!(select(dtype, tokens, exclude).unwrap(), [0, 2], "{dtype:?} {exclude}");
    }
    for (dtype, tokens, expected) in [
        (Dtype::U32, bytes([1_u32, 0, 1 << 31]), "tensor `token_ids`, row 2 is 2147483648; it must be -2147483648 to"),
        (Dtype::I64, bytes([1_i64, i64::MIN, 0]), "row 1 is -9223372036854775808"),
    ] {
        let message = select(dtype, tokens, 1).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_row_that_is_not_finite_has_no_norm() {
    let dir = tempfile::tempdir().unwrap();
    let data = open(&[write_rows(&dir, "bad", &[1.0, f32::NAN, 1.0], &[0, 1, 0])]);
    let message = FilteredRows::new(data.clone(), &filter(&[1], Some(3.0))).unwrap_err().to_string();
    assert!(message.contains("row 1"), "{message}");
    assert_eq!(selected(&FilteredRows::new(data, &filter(&[1], None)).unwrap()), [0, 2]);
}

/// What is selected with a cache, and what it complains of.
fn remembered(paths: &[PathBuf], filter: &RowFilter, cache: &Path) -> (Vec<u64>, String) {
    let mut problems = String::new();
    let selection = FilteredRows::remembered(open(paths), filter, cache, |problem| problems.push_str(problem)).unwrap();
    (selected(&selection), problems)
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache.join("norms")).map(|entries| entries.map(|entry| entry.unwrap().path()));
    entries.map(Iterator::collect).unwrap_or_default()
}

#[test]
fn norms_are_computed_once_for_each_content_and_limit() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let values: Vec<f32> = (1..=200).map(|row| row as f32).collect();
    let paths = [write_rows(&dir, "a", &values, &[0; 200])];
    let (wide, narrow) = (filter(&[], Some(1.9)), filter(&[], Some(1.8)));
    let expect = |paths: &[PathBuf], filter: &RowFilter, count: usize| {
        let (rows, problems) = remembered(paths, filter, &cache);
        assert_eq!((rows, problems), ((0..200).take(count).collect(), String::new()));
    };
    expect(&paths, &wide, 190);
    let [entry] = &entries(&cache)[..] else { panic!("{:?}", entries(&cache)) };
    // What is remembered is believed: nothing was computed.
    let text = std::fs::read_to_string(entry).unwrap();
    let believed = text.replacen("\"too_large\":[190,191", "\"too_large\":[188,189,190,191", 1);
    assert_ne!(believed, text);
    std::fs::write(entry, &believed).unwrap();
    expect(&paths, &wide, 188);
    // Whatever else is left out, and wherever the file is.
    assert_eq!(remembered(&paths, &filter(&[7], Some(1.9)), &cache).0.len(), 188);
    let moved = dir.path().join("moved");
    std::fs::rename(&paths[0], &moved).unwrap();
    expect(std::slice::from_ref(&moved), &wide, 188);
    assert_eq!(entries(&cache).len(), 1);
    // Not for another limit, and not for another value, even where no sample of the content shows it.
    expect(std::slice::from_ref(&moved), &narrow, 180);
    let mut bytes = std::fs::read(&moved).unwrap();
    let [at, other] = [150.0_f32, 1e6].map(f32::to_le_bytes);
    let place = bytes.windows(4).position(|window| window == at).unwrap();
    bytes[place..place + 4].copy_from_slice(&other);
    std::fs::write(&moved, bytes).unwrap();
    let (before, file) = (std::time::SystemTime::now(), std::fs::File::options().write(true).open(&moved).unwrap());
    file.set_modified(before + std::time::Duration::from_secs(5)).unwrap();
    let (rows, problems) = remembered(std::slice::from_ref(&moved), &wide, &cache);
    assert_eq!(problems, "");
    assert!(!rows.contains(&149) && rows.contains(&188) && !rows.contains(&195), "{rows:?}");
    assert_eq!(entries(&cache).len(), 3);
}

#[test]
fn a_cache_that_cannot_be_used_costs_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [write_rows(&dir, "a", &[1.0, 2.0, 3.0, 4.0, 9.0], &[0; 5])];
    let limit = filter(&[], Some(2.0));
    // A file is where the directory would be.
    let (rows, problems) = remembered(&paths, &limit, &paths[0]);
    assert_eq!(rows, [0, 1, 2, 3]);
    assert!(problems.contains("computed again next time"), "{problems}");

    let cache = dir.path().join("cache");
    assert_eq!(remembered(&paths, &limit, &cache), (vec![0, 1, 2, 3], String::new()));
    let entry = entries(&cache).remove(0);
    let whole = std::fs::read_to_string(&entry).unwrap();
    for damaged in [
        String::new(),
        whole[..whole.len() - 3].to_owned(),
        whole.replace("[4]", "[5]"),
        whole.replace("[4]", "[4,4]"),
        whole.replace("\"max_norm\":2.0", "\"max_norm\":3.0"),
    ] {
        assert_ne!(damaged, whole);
        std::fs::write(&entry, &damaged).unwrap();
        let (rows, problems) = remembered(&paths, &limit, &cache);
        assert_eq!(rows, [0, 1, 2, 3], "{damaged}");
        assert!(problems.contains("not used"), "{damaged}: {problems}");
        // It is replaced.
        assert_eq!(remembered(&paths, &limit, &cache).1, "");
    }
}
