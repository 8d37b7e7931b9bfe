//! What tells a file of activations from any other, wherever it lies.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reader::Reader;
use crate::error::Result;
use crate::storage::{Checksum, Dtype};

/// Rows of a file whose values are part of its identity.
const SAMPLES: u64 = 64;

/// A file of activations by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Where it lies: no part of its content.
    pub path: PathBuf,
    /// Size of the file, padding included: no part of its content either.
    pub bytes: u64,
    /// Number of rows.
    pub rows: u64,
    /// Values per row.
    pub width: usize,
    /// Type of the values.
    pub dtype: Dtype,
    /// Checksum (XXH3) of the header: names, types, shapes and places of all tensors, and the metadata, in any order.
    pub header: String,
    /// Checksum (XXH3) of up to 64 rows, the first and the last among them and the others evenly between, each followed
    /// by its value of `token_ids`, if there is one.
    pub rows_checksum: String,
}

impl FileIdentity {
    /// The identity of a file.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), or [`Error::Data`](crate::Error::Data) when the file has become shorter.
    pub(super) fn of(reader: &dyn Reader) -> Result<Self> {
        let (rows, width, dtype) = (reader.rows(), reader.width(), reader.dtype());
        let mut tokens = reader.columns().iter().enumerate().filter(|(_, column)| column.name == "token_ids");
        let tokens = tokens.find_map(|(place, column)| {
            let bytes = column.row_bytes(rows).filter(|_| column.shape.len() == 1)?;
            Some((place, vec![0; bytes]))
        });
        let (mut row_bytes, mut tokens) = (vec![0; width * dtype.bytes()], tokens);
        let mut checksum = Checksum::default();
        for row in sampled(rows) {
            reader.read(row, &mut row_bytes)?;
            checksum.update(&row_bytes);
            if let Some((place, bytes)) = &mut tokens {
                reader.read_column(*place, row, bytes)?;
                checksum.update(bytes);
            }
        }
        Ok(Self {
            path: reader.path().to_owned(),
            bytes: reader.bytes(),
            rows,
            width,
            dtype,
            header: reader.header_checksum(),
            rows_checksum: checksum.digest(),
        })
    }

    /// How this file differs from `before`, in words, if it does.
    fn difference(&self, before: &Self) -> Option<String> {
        let Self { path: _, bytes: _, rows, width, dtype, header, rows_checksum } = self;
        if *rows != before.rows {
            return Some(format!("{rows} rows, had {}", before.rows));
        }
        if *width != before.width {
            return Some(format!("{width} values per row, had {}", before.width));
        }
        if *dtype != before.dtype {
            return Some(format!("{dtype:?}, was {:?}", before.dtype));
        }
        if *rows_checksum != before.rows_checksum {
            return Some("other values".into());
        }
        let other_header = "the same rows under another header (metadata, or tensors beside them)";
        (*header != before.header).then(|| other_header.into())
    }

    /// Whether the content is the same.
    fn is_same(&self, other: &Self) -> bool {
        self.difference(other).is_none()
    }
}

/// What differs first between the files of then and those of now, in words; nothing, if their contents are the same in
/// the same order, wherever they lie.
pub fn first_difference(before: &[FileIdentity], now: &[FileIdentity]) -> Option<String> {
    let pairs = now.iter().zip(before).enumerate();
    let differing = pairs.filter_map(|(at, (now, before))| Some((at, now.difference(before)?))).next();
    let counts = match (now.len(), before.len()) {
        (now, before) if now == before => String::new(),
        (1, before) => format!(" (1 file, had {before})"),
        (now, before) => format!(" ({now} files, had {before})"),
    };
    if let Some((at, difference)) = differing {
        let had = &before[at];
        let place = now.iter().position(|file| file.is_same(had)).filter(|_| counts.is_empty());
        let moved = place.map(|place| format!(" (what it held is now file {}: the order is another)", place + 1));
        let file = describe(at, &now[at].path);
        return Some(format!("{file}: {difference}{counts}{}", moved.unwrap_or_default()));
    }
    let (more, fewer) = (now.get(before.len()), before.get(now.len()));
    more.map(|file| format!("a file more: {}{counts}", describe(before.len(), &file.path)))
        .or(fewer.map(|file| format!("a file fewer: {}{counts}", describe(now.len(), &file.path))))
}

fn describe(at: usize, path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    format!("file {}, `{}`", at + 1, name.escape_debug())
}

/// The rows to look at, ascending, among so many.
fn sampled(rows: u64) -> impl Iterator<Item = u64> {
    let count = rows.min(SAMPLES);
    let last = u128::from(count.max(2) - 1);
    // At most the last row, which is a u64.
    (0..u128::from(count)).map(move |at| (at * u128::from(rows - 1) / last) as u64)
}

#[cfg(test)]
mod tests;
