//! Entries for fuzzing: each opens bytes as a format, and reads all that they say they hold.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Once};

use tempfile::TempDir;

use super::Activations;
use super::npy::NpyReader;
use super::reader::Reader;
use super::safetensors::SafetensorsReader;
use crate::error::Result;
use crate::storage::file_pool::FilePool;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// What a read of a file that was opened may not fail for.
const CHECKED: &str = "what was checked when the file was opened";

/// As a safetensors file.
pub fn safetensors(bytes: &[u8]) {
    read_all(bytes, |pool, path| SafetensorsReader::open(pool, path, Activations::TENSOR)).expect(CHECKED);
}

/// As a file of NumPy's.
pub fn npy(bytes: &[u8]) {
    read_all(bytes, NpyReader::open).expect(CHECKED);
}

/// As a file of Arrow's.
#[cfg(feature = "arrow")]
pub fn arrow_dataset(bytes: &[u8]) {
    read_all(bytes, |pool, path| super::arrow::ArrowReader::open(pool, path, Activations::TENSOR)).expect(CHECKED);
}

/// As a stream of Arrow's.
#[cfg(feature = "arrow")]
pub fn arrow_stream(bytes: &[u8]) {
    use super::arrow::{ArrowStream, Chunk};
    let input = Box::new(Cursor::new(bytes.to_vec()));
    let Ok(mut stream) = ArrowStream::open(input, Activations::TENSOR) else { return };
    let (mut chunk, mut rows) = (Chunk::default(), 0);
    let row_bytes = stream.width() * stream.dtype().bytes();
    while stream.next_into(&mut chunk).is_ok_and(|is_more| is_more) {
        assert_eq!(chunk.values.len(), chunk.rows * row_bytes);
        assert!(chunk.values.len() <= bytes.len());
        for (values, column) in chunk.columns.iter().zip(stream.columns()) {
            assert_eq!(Some(values.len()), column.dtype.map(|dtype| chunk.rows * dtype.bytes()));
        }
        rows += chunk.rows as u64;
    }
    assert_eq!(stream.rows_read(), rows);
}

/// As a file of Parquet's.
#[cfg(feature = "parquet")]
pub fn parquet(bytes: &[u8]) {
    // The decoder's own panics are contained, and are no finding; any other ends the run all the same.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    // Its pages are checked when they are decoded.
    let _ = read_all(bytes, |pool, path| super::parquet::ParquetReader::open(pool, path, Activations::TENSOR));
}

/// Opens a file of these bytes, and reads all its rows and columns; an error is one of a read.
fn read_all<R: Reader>(bytes: &[u8], open: impl FnOnce(&Arc<FilePool>, &Path) -> Result<R>) -> Result<()> {
    static FILE: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let path = dir.path().join("input");
        (dir, path)
    });
    let path = &FILE.1;
    std::fs::write(path, bytes).expect("room for a temporary file");
    let Ok(reader) = open(&FilePool::new(1), path) else { return Ok(()) };
    assert!(reader.width() > 0);
    assert!(!reader.header_checksum().is_empty());
    // Rows that do not exist may be of any width.
    if reader.rows() > 0 {
        read_rows(&reader, reader.width() * reader.dtype().bytes(), |first, out| reader.read(first, out))?;
    }
    for (place, column) in reader.columns().iter().enumerate() {
        if let Some(row_bytes) = column.row_bytes(reader.rows()).filter(|bytes| *bytes > 0) {
            read_rows(&reader, row_bytes, |first, out| reader.read_column(place, first, out))?;
        }
    }
    Ok(())
}

fn read_rows(reader: &dyn Reader, row_bytes: usize, read: impl Fn(u64, &mut [u8]) -> Result<()>) -> Result<()> {
    let (mut first, rows) = (0, reader.rows());
    let piece_rows = (PIECE / row_bytes).max(1) as u64;
    while first < rows {
        let count = piece_rows.min(rows - first);
        let mut out = vec![0; count as usize * row_bytes];
        read(first, &mut out)?;
        first += count;
    }
    Ok(())
}
