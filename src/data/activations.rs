//! Activation files as one long table of rows.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::reader::Reader;
use super::row_values::RowsView;
use super::{FileIdentity, Provenance, RowKind, RowValues, formats, listing};
use crate::error::{Error, Result};
use crate::storage::Dtype;
use crate::storage::file_pool::FilePool;
use crate::storage::floats::decode;
use crate::storage::header::printable;

/// Files that are open at a time: few beside any limit that a system sets, whose rest is the device driver's.
const OPEN_FILES: usize = 32;

/// Bytes that are read at a time: what was read is still in a core's cache when it is checked.
const READ_BYTES: usize = 256 << 10;

/// A set of activation files, opened and checked: the rows of the first file, then those of the second, and so on.
///
/// Values are read by position when they are asked for; the files must not change meanwhile. Few files are open at a
/// time, however many there are.
#[derive(Debug)]
pub struct Activations {
    shards: Vec<Shard>,
    width: usize,
    rows: u64,
    /// Of all files, or f32 if they differ.
    dtype: Dtype,
    provenance: Provenance,
    identity: OnceLock<Vec<FileIdentity>>,
}

/// One file and the row numbers it holds.
#[derive(Debug)]
struct Shard {
    reader: Box<dyn Reader>,
    rows: Range<u64>,
}

impl Activations {
    /// The tensor that [`Self::open`] reads.
    pub const TENSOR: &'static str = "activations";

    /// Opens files of rows [rows, width] of f16, bf16 or f32, or directories of them: safetensors with a tensor
    /// `activations`, NumPy's `.npy`, Arrow's files and streams with such a column, and what Hugging Face `datasets`
    /// saves, such as SAELens's cached activations. The format is found by content (docs/data.md).
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
        let files = listing::list(paths)?;
        let mut shards: Vec<Shard> = Vec::with_capacity(files.len());
        let mut rows = 0_u64;
        for path in &files {
            let reader = formats::open(&pool, path, name)?;
            let first = shards.first().map_or(&*reader, |first| &*first.reader);
            let (label, width) = (reader.label(), reader.width());
            if width != first.width() {
                let problem = format!(
                    "{label} has width {width}, but that of {:?} has {}; give files of one width",
                    first.path(),
                    first.width()
                );
                return Err(Error::data(path, problem));
            }
            let end = rows
                .checked_add(reader.rows())
                .ok_or_else(|| Error::data(path, format!("{label} makes more than 2^64 rows; give fewer files")))?;
            shards.push(Shard { reader, rows: rows..end });
            rows = end;
        }
        let (Some(Shard { reader: first, .. }), 1..) = (shards.first(), rows) else {
            let problem = format!("tensor `{}` has no rows in any file; give at least one row", printable(name));
            return Err(Error::data(named, problem));
        };
        let (width, provenance) = (first.width(), Provenance::of(first.path(), first.metadata()));
        let are_alike = shards.iter().all(|shard| shard.reader.dtype() == first.dtype());
        let dtype = if are_alike { first.dtype() } else { Dtype::F32 };
        Ok(Self { shards, width, rows, dtype, provenance, identity: OnceLock::new() })
    }

    /// Number of rows in all files, at least 1.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Each file and the number of its rows.
    pub fn row_counts(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.shards.iter().map(|shard| (shard.reader.path(), shard.reader.rows()))
    }

    /// What tells the files from any others, in their order. The first call reads up to 64 rows of each file.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for a file that was cut short.
    pub fn identity(&self) -> Result<Vec<FileIdentity>> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity.clone());
        }
        let identity = self.shards.iter().map(|shard| FileIdentity::of(&*shard.reader));
        let identity = identity.collect::<Result<Vec<_>>>()?;
        Ok(self.identity.get_or_init(|| identity).clone())
    }

    /// Values per row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Type of the values of all files, or f32 if their types differ.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Whether every file says in its metadata that its rows are in random order: `shuffled`, `true`.
    pub fn is_shuffled(&self) -> bool {
        self.readers().all(|(file, _)| file.metadata().get("shuffled").is_some_and(|said| said == "true"))
    }

    /// What the order of the rows follows from.
    pub fn kind(&self) -> RowKind {
        RowKind { rows: Some(self.rows), width: self.width, dtype: self.dtype, is_shuffled: self.is_shuffled() }
    }

    /// What the first file's metadata says about where the rows came from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// The file that holds `row`, and the row's number in it; nothing if there is no such row.
    pub fn place_of(&self, row: u64) -> Option<(&Path, u64)> {
        let shard = self.shards.get(self.file_of(row))?;
        Some((shard.reader.path(), row - shard.rows.start))
    }

    /// Reads `rows`, by number and in any order, into `out`, `[rows.len(), width]`. The files are read in ascending
    /// order, rows that follow one another at once.
    ///
    /// # Errors
    /// [`Error::Config`] when a row does not exist or `out` has another size; [`Error::Data`] for a value that is not
    /// finite, naming its row in its file, and for a file that was cut short; [`Error::Io`].
    pub fn read(&self, rows: &[u64], out: &mut [f32]) -> Result<()> {
        self.check(rows, out.len())?;
        let mut values = RowValues::zeroed(self.dtype, out.len());
        self.read_values(rows, &mut values)?;
        decode(self.dtype, values.view().bytes(), out);
        Ok(())
    }

    /// As [`Self::read`], but into values of type [`Self::dtype`], as they are stored.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn read_values(&self, rows: &[u64], out: &mut RowValues) -> Result<()> {
        self.read_stored(rows, out, check_finite)
    }

    /// As [`Self::read_values`], values that are not finite among them.
    ///
    /// # Errors
    /// As [`Self::read`], but for such values.
    pub(super) fn read_unchecked(&self, rows: &[u64], out: &mut RowValues) -> Result<()> {
        self.read_stored(rows, out, |_, _, _| Ok(()))
    }

    fn read_stored(&self, rows: &[u64], out: &mut RowValues, check: RowCheck) -> Result<()> {
        self.check(rows, out.len())?;
        let mut runs = runs(rows, (READ_BYTES / self.row_bytes()).max(1));
        runs.sort_unstable_by_key(|run| run.row);
        let mut scratch = Vec::new();
        runs.into_iter().try_for_each(|run| self.read_run(run, check, &mut scratch, out))
    }

    fn read_run(&self, mut run: Run, check: RowCheck, scratch: &mut Vec<u32>, out: &mut RowValues) -> Result<()> {
        while run.count > 0 {
            let Shard { reader, rows } = &self.shards[self.file_of(run.row)];
            let count = run.count.min(usize::try_from(rows.end - run.row).unwrap_or(usize::MAX));
            let (first, stored) = (run.row - rows.start, reader.dtype());
            let values = run.place * self.width..(run.place + count) * self.width;
            let target = &mut out.bytes_mut()[run.place * self.row_bytes()..][..count * self.row_bytes()];
            if stored == self.dtype {
                reader.read(first, target)?;
                check(&**reader, first, out.view().slice(values))?;
            } else {
                // Files of several types are f32 together.
                let bytes = values.len() * stored.bytes();
                scratch.resize(bytes.div_ceil(4), 0);
                let bytes = &mut bytemuck::cast_slice_mut(scratch)[..bytes];
                reader.read(first, bytes)?;
                check(&**reader, first, RowsView::stored(stored, bytes))?;
                decode(stored, bytes, bytemuck::cast_slice_mut(target));
            }
            run = Run { row: run.row + count as u64, place: run.place + count, count: run.count - count };
        }
        Ok(())
    }

    fn check(&self, rows: &[u64], values: usize) -> Result<()> {
        if rows.len().checked_mul(self.width) != Some(values) {
            return Err(Error::Config(format!(
                "{} rows of {} values do not fit a buffer of {values}",
                rows.len(),
                self.width,
            )));
        }
        match rows.iter().find(|&&row| row >= self.rows) {
            Some(row) => Err(Error::Config(format!("row {row} does not exist: the data has {} rows", self.rows))),
            None => Ok(()),
        }
    }

    /// Bytes of a row of type [`Self::dtype`].
    fn row_bytes(&self) -> usize {
        self.width * self.dtype.bytes()
    }

    /// The files and the row numbers that each holds.
    pub(crate) fn readers(&self) -> impl Iterator<Item = (&dyn Reader, Range<u64>)> {
        self.shards.iter().map(|shard| (&*shard.reader, shard.rows.clone()))
    }

    /// The place in [`Self::readers`] of the file that holds `row`, which must exist.
    pub(super) fn file_of(&self, row: u64) -> usize {
        self.shards.partition_point(|shard| shard.rows.end <= row)
    }
}

/// Consecutive rows, and the place of the first among those that were asked for.
struct Run {
    row: u64,
    place: usize,
    count: usize,
}

/// The runs of at most `most` rows that follow one another in `rows`.
fn runs(rows: &[u64], most: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (place, &row) in rows.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.row + run.count as u64 == row && run.count < most => run.count += 1,
            _ => runs.push(Run { row, place, count: 1 }),
        }
    }
    runs
}

/// Looks at whole rows of a file from a row on.
type RowCheck = fn(&dyn Reader, u64, RowsView<'_>) -> Result<()>;

/// Fails for a value that is not finite, among those of whole rows of a file from row `first` on.
fn check_finite(reader: &dyn Reader, first: u64, values: RowsView<'_>) -> Result<()> {
    let Some(at) = values.first_not_finite() else { return Ok(()) };
    let (row, column) = (first + (at / reader.width()) as u64, at % reader.width());
    let problem = format!(
        "{}, row {row}, column {column} is {}: only finite numbers can be used; recompute it, or leave such rows out \
         (--bad-rows skip)",
        reader.label(),
        values.slice(at..at + 1).to_f32()[0]
    );
    Err(Error::data(reader.path(), problem))
}

#[cfg(test)]
mod tests;
