//! Files: safetensors read by position and written in pieces, files and directories that appear whole or not at all,
//! checksums.

mod cache_directory;
mod checksum;
mod dtype;
pub(crate) mod file_pool;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod floats;
pub(crate) mod header;
mod read_at;
pub(crate) mod staging;
pub(crate) mod tensor_file;
mod tensor_writer;
mod unfinished;
mod whole_file;

pub use cache_directory::cache_directory;
pub use checksum::{Checksum, checksum, checksum_file};
pub use dtype::Dtype;
pub use tensor_writer::TensorWriter;
pub use whole_file::{WholeFile, replace_file};

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};

/// Makes the names in a directory durable, where the system can.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io(path))?;
    }
    Ok(())
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}
