use std::fs::File;

use safetensors::Dtype;
use tempfile::TempDir;

use super::*;
use crate::storage::fixtures::{Tensor, write};

const TENSOR: &str = Activations::TENSOR;
const WIDTH: usize = 3;

/// Row `r` of the test data is `8r, 8r + 1, 8r + 2`, which all three types hold exactly below row 16.
fn values(rows: Range<usize>) -> Vec<f32> {
    rows.flat_map(|row| (0..WIDTH).map(move |column| (8 * row + column) as f32)).collect()
}

fn write_rows(dir: &TempDir, name: &str, dtype: Dtype, rows: Range<usize>) -> PathBuf {
    let path = dir.path().join(name);
    let shape = [rows.len(), WIDTH];
    write(&path, &[Tensor::float(TENSOR, dtype, &shape, &values(rows))], &[]);
    path
}

fn read(data: &Activations, rows: &[u64]) -> Result<Vec<f32>> {
    let mut out = vec![f32::NAN; rows.len() * data.width()];
    data.read(rows, &mut out).map(|()| out)
}

/// The bytes of a file with this header and `data` bytes after it.
fn raw(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn files_make_one_table_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    write_rows(&dir, "b.safetensors", Dtype::BF16, 5..5);
    write_rows(&dir, "c.safetensors", Dtype::F32, 5..12);
    write_rows(&dir, "a.safetensors", Dtype::F16, 0..5);
    write_rows(&dir, ".hidden.safetensors", Dtype::F32, 0..9);
    write_rows(&dir, "other.bin", Dtype::F32, 0..9);
    let last = write_rows(&dir, "last", Dtype::BF16, 12..15);

    let data = Activations::open(&[dir.path().into(), last]).unwrap();
    assert_eq!((data.rows(), data.width()), (15, WIDTH));
    let orders: [&[u64]; 4] = [&(0..15).collect::<Vec<_>>(), &[14, 4, 5, 3, 13, 0], &[7, 7, 6, 7], &[]];
    for rows in orders {
        let expected: Vec<f32> = rows.iter().flat_map(|&row| values(row as usize..row as usize + 1)).collect();
        assert_eq!(read(&data, rows).unwrap(), expected);
    }
    assert!(matches!(read(&data, &[15]), Err(Error::Config(message)) if message.contains("15")));
    assert!(matches!(data.read(&[0], &mut [0.0; 2]), Err(Error::Config(_))));
}

#[test]
fn runs_longer_than_a_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long");
    let rows = READ_BYTES / 4 + 7;
    let values: Vec<f32> = (0..rows).map(|row| row as f32).collect();
    write(&path, &[Tensor::f32(TENSOR, &[rows, 1], &values)], &[]);
    let data = Activations::open(&[path]).unwrap();
    assert_eq!(read(&data, &(0..rows as u64).collect::<Vec<_>>()).unwrap(), values);
}

#[test]
fn provenance_comes_from_the_first_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let expected = Provenance {
        model_name: Some("m".into()),
        hook_name: Some("h".into()),
        context_size: Some(126),
        dataset_path: None,
    };
    for (size, context_size) in [("126", Some(126)), ("many", None)] {
        let metadata = [("model_name", "m"), ("hook_name", "h"), ("context_size", size)];
        write(&path, &[Tensor::f32(TENSOR, &[1, 1], &[0.0])], &metadata);
        let data = Activations::open(std::slice::from_ref(&path)).unwrap();
        assert_eq!(*data.provenance(), Provenance { context_size, ..expected.clone() });
    }
}

#[test]
fn bad_files_are_named_with_their_cure() {
    let dir = tempfile::tempdir().unwrap();
    let tensor = |dtype: &str, shape: &str, end: usize| {
        format!(r#"{{"activations":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let whole = raw(&tensor("F32", "[2,2]", 16), 16);
    let huge = u64::MAX.to_le_bytes().to_vec();
    let beyond = [&1000_u64.to_le_bytes()[..], b"{}"].concat();
    let cases: [(&str, Vec<u8>, &str); 20] = [
        ("empty", vec![], "only 0 bytes"),
        ("tiny", vec![1, 2, 3], "only 3 bytes"),
        ("header length huge", huge, "18446744073709551615"),
        ("header length beyond the file", beyond, "1000"),
        ("not JSON", raw("\u{1b}[31m nothing", 0), "header"),
        ("not UTF-8", [&1_u64.to_le_bytes()[..], &[0xff]].concat(), "header"),
        (
            "no tensor",
            raw("{}", 0),
            "no tensor `activations` (it has: none at all); name the one that holds the rows with --tensor",
        ),
        ("cut short", whole[..whole.len() - 1].to_vec(), "cut short"),
        ("trailing bytes", [&whole[..], &[0]].concat(), "bytes behind its last tensor"),
        ("wrong type", raw(&tensor("I64", "[1,2]", 16), 16), "is I64, not F16, BF16 or F32; write it as one of these"),
        (
            "rank 1",
            raw(&tensor("F32", "[4]", 16), 16),
            "shape [4]; it must be [rows, width] with a width of at least 1; give each row",
        ),
        ("rank 3", raw(&tensor("F32", "[2,1,2]", 16), 16), "at least 1; flatten it: x.reshape(-1, 2)"),
        ("f64", raw(&tensor("F64", "[1,2]", 16), 16), "is F64, not F16, BF16 or F32; convert it: x.astype('float32')"),
        ("unknown type", raw(&tensor("F4_NEW", "[1,2]", 16), 16), "tensor `activations` is F4_NEW, not F16"),
        ("another format", b"\x89HDF\r\n\x1a\n\0".to_vec(), "is an HDF5 file, which is not read"),
        ("zero rows", raw(&tensor("F32", "[0,2]", 0), 0), "no rows"),
        ("zero width", raw(&tensor("F32", "[2,0]", 0), 0), "shape [2, 0]"),
        ("shape overflows", raw(&tensor("F32", "[4294967296,4294967296]", 16), 16), "than can be counted"),
        ("shape against offsets", raw(&tensor("F32", "[3,2]", 16), 16), "needs 24 bytes, and its data_offsets hold 16"),
        (
            "number too large",
            raw(&tensor("F32", "[99999999999999999999,1]", 16), 16),
            "tensor `activations` cannot be read",
        ),
    ];
    for (name, bytes, expected) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Activations::open(std::slice::from_ref(&path)).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Data { .. }), "{name}: {message}");
        assert!(message.contains(name) && message.contains(expected), "{name}: {message}");
        assert!(!message.contains('\u{1b}'), "{name}: {message:?}");
    }
}

#[test]
fn rows_may_have_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let tensors =
        [Tensor::f32("a", &[2], &[0.0; 2]), Tensor::f32("h\n", &[1, 2], &[1.0, 2.0]), Tensor::f32("z", &[0, 1], &[])];
    write(&path, &tensors, &[]);
    let paths = [path];
    let message = Activations::open(&paths).unwrap_err().to_string();
    let expected = "(it has: a, h\\n, z); name the one that holds the rows with --tensor, e.g. --tensor $'h\\n'";
    assert!(message.ends_with(expected), "{message}");
    let data = Activations::open_tensor(&paths, "h\n").unwrap();
    assert_eq!(read(&data, &[0]).unwrap(), [1.0, 2.0]);
    assert_eq!(data.identity().unwrap()[0].width, 2);
}

/// A tensor of a type that is not known, beside the rows, is no obstacle.
#[test]
fn foreign_tensors_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let entry = |name, dtype, shape, offsets| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let entries = [entry("new", "F4_NEW", "[3]", "[0,3]"), entry("activations", "F32", "[2,1]", "[3,11]")];
    std::fs::write(&path, raw(&format!("{{{}}}", entries.join(",")), 11)).unwrap();
    assert_eq!(read(&Activations::open(&[path]).unwrap(), &[1, 0]).unwrap(), [0.0; 2]);
}

#[test]
fn a_row_has_a_place_in_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let files = [("a", 0..3), ("none", 3..3), ("b", 3..5)].map(|(name, rows)| write_rows(&dir, name, Dtype::F32, rows));
    let data = Activations::open(&files).unwrap();
    let places: Vec<_> = (0..6).map(|row| data.place_of(row)).collect();
    let [a, _, b] = &files;
    assert_eq!(places, [Some((&**a, 0)), Some((a, 1)), Some((a, 2)), Some((b, 0)), Some((b, 1)), None]);
    assert_eq!(data.place_of(u64::MAX), None);
}

#[test]
fn bad_sets_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wide = dir.path().join("wide");
    write(&wide, &[Tensor::f32(TENSOR, &[1, 4], &[0.0; 4])], &[]);
    let first = write_rows(&dir, "first", Dtype::F16, 0..1);
    let message = Activations::open(&[first, wide]).unwrap_err().to_string();
    assert!(["wide", "first", "3", "4"].iter().all(|part| message.contains(part)), "{message}");

    assert!(matches!(Activations::open(&[]), Err(Error::Config(_))));
    assert!(matches!(Activations::open(&[dir.path().join("absent")]), Err(Error::Io { .. })));
    assert!(matches!(Activations::open(&[dir.path().into()]), Err(Error::Data { .. })));
}

#[test]
fn non_finite_values_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let path = dir.path().join("holed");
            let mut rows = values(0..4);
            rows[2 * WIDTH + 1] = bad;
            write(&path, &[Tensor::float(TENSOR, dtype, &[4, WIDTH], &rows)], &[]);
            let front = write_rows(&dir, "front", dtype, 0..6);
            let data = Activations::open(&[front, path]).unwrap();
            assert_eq!(read(&data, &[9, 7]).unwrap().len(), 2 * WIDTH);
            let message = read(&data, &[9, 8, 7]).unwrap_err().to_string();
            let parts = ["holed", "`activations`", "row 2, column 1", &bad.to_string()];
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}

#[test]
fn a_file_cut_short_after_opening_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_rows(&dir, "cut", Dtype::F32, 0..10);
    let data = Activations::open(std::slice::from_ref(&path)).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    assert!(read(&data, &[8]).is_ok());
    let error = read(&data, &[9]).unwrap_err();
    assert!(matches!(error, Error::Data { .. }) && error.to_string().contains("cut"), "{error}");
}

#[test]
fn shared_between_threads() {
    fn sync<T: Send + Sync>() {}
    sync::<Activations>();
}
