use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// A file of a header's version and text, and data.
fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = [MAGIC, &[version, 0]].concat();
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    [&bytes, header.as_bytes(), data].concat()
}

fn header(descr: &str, shape: &str) -> String {
    format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}      \n")
}

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn open(bytes: &[u8]) -> Result<NpyReader> {
    let (_dir, path) = written(bytes);
    NpyReader::open(&FilePool::new(1), &path)
}

#[test]
fn rows_are_read_at_every_place() {
    let data: Vec<u8> = (0..3 * 4 * 4).collect();
    for version in [1, 2, 3] {
        for (descr, dtype, width) in [("'<f4'", Dtype::F32, 4), ("'<f2'", Dtype::F16, 8), ("'<V2'", Dtype::BF16, 8)] {
            let (_dir, path) = written(&file(version, &header(descr, &format!("(3, {width})")), &data));
            let reader = NpyReader::open(&FilePool::new(1), &path).unwrap();
            assert_eq!((reader.rows(), reader.width(), reader.dtype()), (3, width, dtype));
            for (first, count) in [(0, 3), (0, 1), (1, 1), (2, 1), (1, 2)] {
                let mut out = vec![0; count * 16];
                reader.read(first as u64, &mut out).unwrap();
                assert_eq!(out, data[first * 16..][..count * 16]);
            }
        }
    }
    let checksum = |descr, shape| open(&file(1, &header(descr, shape), &data)).unwrap().header_checksum();
    assert_eq!(checksum("'<V2'", "(3, 8)"), checksum("'|V2'", "(3,8)"));
    assert_ne!(checksum("'<f2'", "(3, 8)"), checksum("'<V2'", "(3, 8)"));
    assert_ne!(checksum("'<f2'", "(3, 8)"), checksum("'<f2'", "(6, 4)"));
}

#[test]
fn a_file_without_rows_is_one() {
    assert_eq!(open(&file(1, &header("'<f4'", "(0, 4)"), &[])).unwrap().rows(), 0);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_cure() {
    let (f4, data) = (|shape: &str| header("'<f4'", shape), [0; 48]);
    let fortran = f4("(3, 4)").replace("False", "True");
    let long = header("'<f4'", "(3, 4)") + &" ".repeat(MAX_HEADER_BYTES);
    for (bytes, expected) in [
        (file(1, &header("'>f4'", "(3, 4)"), &data), "big-endian order; convert it: x.astype('<f4')"),
        (file(1, &header("'<f8'", "(3, 2)"), &data), "64-bit floats; convert it: x.astype('<f4')"),
        (file(1, &header("'<i4'", "(3, 4)"), &data), "is an array of '<i4'"),
        (file(1, &header("'|O'", "(3, 4)"), &data), "Python objects; stack its rows"),
        (file(1, &header("[('a', '<f4')]", "(3,)"), &data), "named fields; write one field"),
        (file(1, &header("'\u{1b}'", "(3,)"), &data), "is an array of '\\u{1b}'"),
        (file(1, &fortran, &data), "Fortran's order, whose rows do not lie together"),
        (file(1, &f4("(12,)"), &data), "is an array [12]; it must be [rows, width] with a width of at least 1"),
        (file(1, &f4("(12,)"), &data), "x.reshape(-1, d)"),
        (file(1, &f4("(3, 2, 2)"), &data), "is an array [3, 2, 2]"),
        (file(1, &f4("(3, 2, 2)"), &data), "flatten it: x.reshape(-1, 2)"),
        (file(1, &f4("()"), &[0; 4]), "is an array []"),
        (file(1, &f4("(3, 0)"), &[]), "is an array [3, 0]; it must be"),
        (file(1, &f4("(3, 4)"), &data[1..]), "was cut short: it needs"),
        (file(1, &f4("(3, 4)"), &[0; 49]), "has bytes behind its array: it needs"),
        (file(1, &f4("(4294967296, 4294967296)"), &data), "of more bytes than can be counted"),
        (file(1, &f4("(0, 18446744073709551615)"), &[]), "too wide for this system"),
        (file(2, &long, &data), "more than the 65536 that are read"),
        ([MAGIC, b"\x02\0\xff\xff\xff\xff{}"].concat(), "announces a header of 4294967295 bytes in a file of 14"),
        ([MAGIC, b"\x04\0\x02\0{}"].concat(), "is of version 4 of the format"),
        ([MAGIC, b"\x02\0\x02\0"].concat(), "announces a header of 2 bytes in a file of 10"),
        (MAGIC.to_vec(), "is of version 0"),
        (b"x".to_vec(), "does not start as .npy does"),
        (vec![], "does not start as .npy does"),
        (file(1, "{}", &[]), "header: no entry 'descr': not an array that NumPy wrote"),
    ] {
        let error = open(&bytes).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_file_cut_short_meanwhile_is_refused() {
    let (_dir, path) = written(&file(1, &header("'<f4'", "(3, 4)"), &[0; 48]));
    let reader = NpyReader::open(&FilePool::new(1), &path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(reader.bytes() - 1).unwrap();
    reader.read(1, &mut [0; 16]).unwrap();
    let message = reader.read(2, &mut [0; 16]).unwrap_err().to_string();
    assert!(message.contains("ends inside the array: it was cut short after it was opened"), "{message}");
}
