//! The formats of activation files, told apart by their first bytes.

use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "arrow")]
use super::arrow::ArrowReader;
use super::foreign;
use super::npy::{self, NpyReader};
#[cfg(feature = "parquet")]
use super::parquet::ParquetReader;
use super::reader::Reader;
use super::safetensors::SafetensorsReader;
use crate::error::Result;
use crate::storage::file_pool::FilePool;

/// Opens a file whose tensor or column `name` holds the rows.
///
/// # Errors
/// Those of its format, and [`Error::Data`](crate::Error::Data) for one that is not known, with a way to convert it if
/// it is known to be something else.
pub(super) fn open(pool: &Arc<FilePool>, path: &Path, name: &str) -> Result<Box<dyn Reader>> {
    match foreign::read_start(path).as_deref() {
        Some(start) if start.starts_with(npy::MAGIC) => Ok(Box::new(NpyReader::open(pool, path)?)),
        #[cfg(feature = "arrow")]
        Some([b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, _, _, _, 0, ..]) => {
            Ok(Box::new(ArrowReader::open(pool, path, name)?))
        }
        #[cfg(feature = "parquet")]
        Some([b'P', b'A', b'R', b'1', ..]) => Ok(Box::new(ParquetReader::open(pool, path, name)?)),
        start => match SafetensorsReader::open(pool, path, name) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(error) => Err(foreign::explain(error, start.unwrap_or_default(), path)),
        },
    }
}
