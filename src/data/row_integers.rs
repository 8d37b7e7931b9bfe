//! One of the integers that stand beside the rows, of any rows.

use std::ops::Range;
use std::sync::Arc;

use super::Activations;
use super::reader::Reader;
use super::rewrite::{decode_integer, sequence_offsets};
use super::row_labels::integers;
use crate::error::Result;
use crate::storage::Dtype;

/// A tensor of one integer for each row that every file has, of u8, u16, u32, i32 or i64.
#[derive(Clone, Debug)]
pub struct RowIntegers {
    data: Arc<Activations>,
    /// Of each file.
    columns: Vec<FileColumn>,
}

#[derive(Clone, Debug)]
struct FileColumn {
    place: usize,
    dtype: Dtype,
    /// Added to each integer.
    offset: i128,
}

impl RowIntegers {
    /// Finds the tensor `name`; `None` if a file lacks it or has it in another form.
    pub fn open(data: Arc<Activations>, name: &str) -> Option<Self> {
        let column =
            |file: &dyn Reader| integers(file, name).map(|(place, dtype)| FileColumn { place, dtype, offset: 0 });
        let columns = data.readers().map(|(file, _)| column(file)).collect::<Option<Vec<_>>>()?;
        Some(Self { data, columns })
    }

    /// Finds the tensor `sequence`, numbered on from file to file where several files use the same numbers for
    /// different sequences. Of several files the whole tensor is read once.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), and [`Error::Data`](crate::Error::Data) for files whose numbers do not fit 64
    /// bits together.
    pub fn open_sequences(data: Arc<Activations>) -> Result<Option<Self>> {
        let Some(mut found) = Self::open(data.clone(), "sequence") else { return Ok(None) };
        for (column, offset) in found.columns.iter_mut().zip(sequence_offsets(&data)?) {
            column.offset = offset;
        }
        Ok(Some(found))
    }

    /// The integers of `rows`, in their order; rows that follow one another are read at once.
    ///
    /// # Panics
    /// When a row does not exist.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), or [`Error::Data`](crate::Error::Data) when a file has become shorter.
    pub fn of(&self, rows: &[u64]) -> Result<Vec<i64>> {
        let files: Vec<(&dyn Reader, Range<u64>)> = self.data.readers().collect();
        let (mut values, mut bytes) = (Vec::with_capacity(rows.len()), Vec::new());
        for run in rows.chunk_by(|&row, &next| next == row + 1 && self.data.file_of(row) == self.data.file_of(next)) {
            let at = self.data.file_of(run[0]);
            let ((file, held), FileColumn { place, dtype, offset }) = (&files[at], &self.columns[at]);
            bytes.resize(run.len() * dtype.bytes(), 0);
            file.read_column(*place, run[0] - held.start, &mut bytes)?;
            // Offsets are such that all fit (`sequence_offsets`).
            values
                .extend(bytes.chunks_exact(dtype.bytes()).map(|bytes| (decode_integer(*dtype, bytes) + offset) as i64));
        }
        Ok(values)
    }
}
