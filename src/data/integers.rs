//! Columns of one integer per row, of any type.

use std::ops::RangeInclusive;

use super::reader::Reader;
use crate::error::{Error, Result};
use crate::storage::Dtype;
use crate::storage::header::printable;
use crate::storage::tensor_file::CHUNK_BYTES;

/// A column `[rows]` of integers of a [`Reader`].
#[derive(Debug)]
pub(super) struct IntegerColumn {
    name: &'static str,
    column: usize,
    dtype: Dtype,
    /// What its values may be.
    range: RangeInclusive<i32>,
}

/// Whether integers beside rows may have this type.
pub(super) fn is_integer(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::U16 | Dtype::I32 | Dtype::U32 | Dtype::I64)
}

impl IntegerColumn {
    /// Finds an optional column of one integer in `range` per row.
    ///
    /// # Errors
    /// [`Error::Data`] when it is there but not u8, u16, u32, i32 or i64, or not `[rows]`.
    pub fn find(reader: &dyn Reader, name: &'static str, range: RangeInclusive<i32>) -> Result<Option<Self>> {
        let mut columns = reader.columns().iter().enumerate();
        let Some((place, column)) = columns.find(|(_, column)| column.name == name) else { return Ok(None) };
        let Some(dtype) = column.dtype.filter(|&dtype| is_integer(dtype)) else {
            let type_name = printable(&column.type_name);
            let problem = format!("tensor `{name}` is {type_name}; write it as U8, U16, U32, I32 or I64");
            return Err(Error::data(reader.path(), problem));
        };
        let rows = reader.rows();
        if !matches!(column.shape[..], [count] if count as u64 == rows) {
            let shape = &column.shape;
            let problem = format!("tensor `{name}` has shape {shape:?}; it must be [{rows}], one value for each row");
            return Err(Error::data(reader.path(), problem));
        }
        Ok(Some(Self { name, column: place, dtype, range }))
    }

    /// Fills `out` with the integers of `reader` from row `first` on.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] for a value out of range, and when the file has become shorter.
    pub fn read(&self, reader: &dyn Reader, first: u64, out: &mut [i32]) -> Result<()> {
        match self.dtype {
            Dtype::U8 => self.read_as::<u8>(reader, first, out),
            Dtype::U16 => self.read_as::<u16>(reader, first, out),
            Dtype::U32 => self.read_as::<u32>(reader, first, out),
            Dtype::I32 => self.read_as::<i32>(reader, first, out),
            _ => self.read_as::<i64>(reader, first, out),
        }
    }

    fn read_as<T: bytemuck::Pod + Into<i64>>(&self, reader: &dyn Reader, first: u64, out: &mut [i32]) -> Result<()> {
        let mut at = first;
        for chunk in out.chunks_mut(CHUNK_BYTES / size_of::<T>()) {
            let mut values = vec![T::zeroed(); chunk.len()];
            reader.read_column(self.column, at, bytemuck::cast_slice_mut(&mut values))?;
            for ((out, value), row) in chunk.iter_mut().zip(values).zip(at..) {
                *out = self.checked(value.into()).ok_or_else(|| {
                    let (name, value, least, most) = (self.name, value.into(), self.range.start(), self.range.end());
                    let problem = format!("tensor `{name}`, row {row} is {value}; it must be {least} to {most}");
                    Error::data(reader.path(), problem)
                })?;
            }
            at += chunk.len() as u64;
        }
        Ok(())
    }

    fn checked(&self, value: i64) -> Option<i32> {
        i32::try_from(value).ok().filter(|value| self.range.contains(value))
    }
}
