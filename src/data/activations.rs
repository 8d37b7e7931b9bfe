//! Activation files as one long table of rows.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{FileIdentity, Provenance, foreign, listing};
use crate::error::{Error, Result};
use crate::storage::file_pool::FilePool;
use crate::storage::header::printable;
use crate::storage::tensor_file::{CHUNK_BYTES, FloatTensor, TensorFile};

/// Files that are open at a time: few beside any limit that a system sets, whose rest is the device driver's.
const OPEN_FILES: usize = 32;

/// A set of activation files, opened and checked: the rows of the first file, then those of the second, and so on.
///
/// Values are read by position when they are asked for; the files must not change meanwhile. Few files are open at a
/// time, however many there are.
#[derive(Debug)]
pub struct Activations {
    shards: Vec<Shard>,
    /// The tensor that holds the rows.
    name: String,
    width: usize,
    rows: u64,
    provenance: Provenance,
    identity: OnceLock<Vec<FileIdentity>>,
}

/// One file and the row numbers it holds.
#[derive(Debug)]
struct Shard {
    file: TensorFile,
    tensor: FloatTensor,
    rows: Range<u64>,
}

impl Activations {
    /// The tensor that [`Self::open`] reads.
    pub const TENSOR: &'static str = "activations";

    /// Opens safetensors files, or directories of them (`*.safetensors`, by name), each with a tensor `activations`
    /// [rows, width] of f16, bf16 or f32.
    ///
    /// # Errors
    /// [`Error::Config`] without any path; [`Error::Io`] when a path cannot be read; [`Error::Data`] for a file that is
    /// damaged, lacks the tensor, has it in another type, rank or width than the first, and when there are no rows.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        Self::open_tensor(paths, Self::TENSOR)
    }

    /// The same from a tensor of another name.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_tensor(paths: &[PathBuf], name: &str) -> Result<Self> {
        let Some(named) = paths.first() else {
            return Err(Error::Config("no activations were named: give a file or a directory".into()));
        };
        let pool = FilePool::new(OPEN_FILES);
        let (files, shown) = (listing::list(paths)?, printable(name));
        let mut shards: Vec<Shard> = Vec::with_capacity(files.len());
        let (mut rows, mut width) = (0_u64, None);
        for path in &files {
            let file = TensorFile::open_in(&pool, path).map_err(|error| foreign::explain(error, path))?;
            let tensor = rows_of(&file, name)?;
            let [count, columns] = [0, 1].map(|dimension| tensor.shape()[dimension]);
            if columns != *width.get_or_insert(columns) {
                let problem = format!(
                    "tensor `{shown}` has width {columns}, but that of {:?} has {}; give files of one width",
                    files[0],
                    shards[0].tensor.shape()[1]
                );
                return Err(Error::data(path, problem));
            }
            let end = rows.checked_add(count as u64).ok_or_else(|| {
                Error::data(path, format!("tensor `{shown}` makes more than 2^64 rows; give fewer files"))
            })?;
            shards.push(Shard { file, tensor, rows: rows..end });
            rows = end;
        }
        let (Some(first), Some(width), 1..) = (shards.first(), width, rows) else {
            let problem = format!("tensor `{shown}` has no rows in any file; give at least one row");
            return Err(Error::data(named, problem));
        };
        let provenance = provenance(&first.file);
        Ok(Self { shards, name: name.to_owned(), width, rows, provenance, identity: OnceLock::new() })
    }

    /// Number of rows in all files, at least 1.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Each file and the number of its rows.
    pub fn row_counts(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.shards.iter().map(|shard| (shard.file.path(), shard.rows.end - shard.rows.start))
    }

    /// What tells the files from any others, in their order. The first call reads up to 64 rows of each file.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for a file that was cut short.
    pub fn identity(&self) -> Result<Vec<FileIdentity>> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity.clone());
        }
        let identity = self.shards.iter().map(|shard| FileIdentity::of(&shard.file, &self.name));
        let identity = identity.collect::<Result<Vec<_>>>()?;
        Ok(self.identity.get_or_init(|| identity).clone())
    }

    /// Values per row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// What the first file's metadata says about where the rows came from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The file that holds `row`, and the row's number in it; nothing if there is no such row.
    pub fn place_of(&self, row: u64) -> Option<(&Path, u64)> {
        let shard = self.shards.get(self.file_of(row))?;
        Some((shard.file.path(), row - shard.rows.start))
    }

    /// Reads `rows`, by number and in any order, into `out`, `[rows.len(), width]`. The files are read in ascending
    /// order, consecutive rows at once.
    ///
    /// # Errors
    /// [`Error::Config`] when a row does not exist or `out` has another size; [`Error::Data`] for a value that is not
    /// finite, naming its row in its file, and for a file that was cut short; [`Error::Io`].
    pub fn read(&self, rows: &[u64], out: &mut [f32]) -> Result<()> {
        if rows.len().checked_mul(self.width) != Some(out.len()) {
            return Err(Error::Config(format!(
                "{} rows of {} values do not fit a buffer of {}",
                rows.len(),
                self.width,
                out.len()
            )));
        }
        if let Some(row) = rows.iter().find(|&&row| row >= self.rows) {
            return Err(Error::Config(format!("row {row} does not exist: the data has {} rows", self.rows)));
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&place| rows[place]);

        let mut scratch = Vec::new();
        let mut places = &order[..];
        while let Some(&place) = places.first() {
            let first = rows[place];
            let shard = &self.shards[self.file_of(first)];
            let row_bytes = self.width * shard.tensor.value_bytes();
            let most = (CHUNK_BYTES / row_bytes).max(1);
            let wanted = places.iter().zip(first..shard.rows.end).take(most);
            let run = wanted.take_while(|&(&place, row)| rows[place] == row).count();

            let values = |rows: u64| (rows - shard.rows.start) * self.width as u64;
            let bytes = shard.file.read_bytes(&shard.tensor, values(first), run * self.width, &mut scratch)?;
            for ((&place, row), bytes) in places.iter().zip(first..).zip(bytes.chunks_exact(row_bytes)) {
                let out = &mut out[place * self.width..][..self.width];
                shard.tensor.decode(bytes, out);
                shard.file.check_finite(&shard.tensor, values(row), out)?;
            }
            places = &places[run..];
        }
        Ok(())
    }

    /// The files and the row numbers that each holds.
    pub(super) fn files(&self) -> impl Iterator<Item = (&TensorFile, Range<u64>)> {
        self.shards.iter().map(|shard| (&shard.file, shard.rows.clone()))
    }

    /// The place in [`Self::files`] of the file that holds `row`, which must exist.
    pub(super) fn file_of(&self, row: u64) -> usize {
        self.shards.partition_point(|shard| shard.rows.end <= row)
    }
}

/// The tensor `name`, which is [rows, width].
fn rows_of(file: &TensorFile, name: &str) -> Result<FloatTensor> {
    let shown = printable(name);
    let names = file.names();
    if !names.contains(&name) {
        let there = names.iter().take(8).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
        let there = if there.is_empty() { "none at all".to_owned() } else { there };
        let is_candidate = |name: &&&str| file.floats(name).is_ok_and(|tensor| tensor.shape().len() == 2);
        let candidate = names
            .iter()
            .find(is_candidate)
            .map(|name| format!(", e.g. --tensor {}", foreign::shell_word(Path::new(name))));
        let problem = format!(
            "has no tensor `{shown}` (it has: {there}); name the one that holds the rows with --tensor{}",
            candidate.unwrap_or_default()
        );
        return Err(Error::data(file.path(), problem));
    }
    let tensor = file.floats(name)?;
    let problem = match *tensor.shape() {
        [_, (1..)] => return Ok(tensor),
        [.., last @ (1..)] if tensor.shape().len() > 2 => format!("flatten it: x.reshape(-1, {last})"),
        [_] => "give each row its width d: x.reshape(-1, d)".to_owned(),
        _ => "give rows of values".to_owned(),
    };
    let problem = format!(
        "tensor `{shown}` has shape {:?}; it must be [rows, width] with a width of at least 1; {problem}",
        tensor.shape()
    );
    Err(Error::data(file.path(), problem))
}

fn provenance(file: &TensorFile) -> Provenance {
    let text = |key| file.metadata(key).map(str::to_owned);
    let context_size = file.metadata("context_size").and_then(|size| {
        let number = size.trim().parse().ok();
        if number.is_none() {
            log::warn!("{:?}: context_size {size:?} is ignored: it is not a number", file.path());
        }
        number
    });
    Provenance {
        model_name: text("model_name"),
        hook_name: text("hook_name"),
        context_size,
        dataset_path: text("dataset_path"),
    }
}

#[cfg(test)]
mod tests;
