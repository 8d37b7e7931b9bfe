//! Tensors of one integer per row, of any type.

use std::ops::RangeInclusive;

use super::Dtype;
use super::header::printable;
use super::tensor_file::{CHUNK_BYTES, TensorFile};
use crate::error::{Error, Result};

/// A tensor `[rows]` of integers within a [`TensorFile`].
#[derive(Debug)]
pub(crate) struct IntegerTensor {
    name: &'static str,
    kind: IntegerKind,
    start: u64,
    /// What its values may be.
    range: RangeInclusive<i32>,
}

#[derive(Clone, Copy, Debug)]
enum IntegerKind {
    U8,
    U16,
    U32,
    I32,
    I64,
}

impl TensorFile {
    /// Finds an optional tensor of one integer in `range` per row.
    ///
    /// # Errors
    /// [`Error::Data`] when it is there but not u8, u16, u32, i32 or i64, or not `[rows]`.
    pub(crate) fn integers(
        &self,
        name: &'static str,
        range: RangeInclusive<i32>,
        rows: u64,
    ) -> Result<Option<IntegerTensor>> {
        let Some(info) = self.header.tensor(name) else { return Ok(None) };
        let kind = match info.dtype() {
            Some(Dtype::U8) => IntegerKind::U8,
            Some(Dtype::U16) => IntegerKind::U16,
            Some(Dtype::U32) => IntegerKind::U32,
            Some(Dtype::I32) => IntegerKind::I32,
            Some(Dtype::I64) => IntegerKind::I64,
            _ => {
                let dtype = printable(&info.dtype);
                let problem = format!("tensor `{name}` is {dtype}; write it as U8, U16, U32, I32 or I64");
                return Err(Error::data(self.path(), problem));
            }
        };
        if !matches!(info.shape[..], [count] if count as u64 == rows) {
            let shape = &info.shape;
            let problem = format!("tensor `{name}` has shape {shape:?}; it must be [{rows}], one value for each row");
            return Err(Error::data(self.path(), problem));
        }
        let start = self.data_start + info.data_offsets.0 as u64;
        Ok(Some(IntegerTensor { name, kind, start, range }))
    }

    /// Fills `out` with the integers from `first` on.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] for a value out of range, and when the file has become shorter.
    pub(crate) fn read_integers(&self, tensor: &IntegerTensor, first: u64, out: &mut [i32]) -> Result<()> {
        match tensor.kind {
            IntegerKind::U8 => self.read_as::<u8>(tensor, first, out),
            IntegerKind::U16 => self.read_as::<u16>(tensor, first, out),
            IntegerKind::U32 => self.read_as::<u32>(tensor, first, out),
            IntegerKind::I32 => self.read_as::<i32>(tensor, first, out),
            IntegerKind::I64 => self.read_as::<i64>(tensor, first, out),
        }
    }

    fn read_as<T: bytemuck::Pod + Into<i64>>(&self, tensor: &IntegerTensor, first: u64, out: &mut [i32]) -> Result<()> {
        let (mut at, range) = (first, &tensor.range);
        for chunk in out.chunks_mut(CHUNK_BYTES / size_of::<T>()) {
            let mut values = vec![T::zeroed(); chunk.len()];
            let offset = tensor.start + at * size_of::<T>() as u64;
            self.read_at(tensor.name, offset, bytemuck::cast_slice_mut(&mut values))?;
            for ((out, value), row) in chunk.iter_mut().zip(values).zip(at..) {
                let value = value.into();
                let fitting = i32::try_from(value).ok().filter(|value| range.contains(value));
                *out = fitting.ok_or_else(|| {
                    let (name, least, most) = (tensor.name, range.start(), range.end());
                    let problem = format!("tensor `{name}`, row {row} is {value}; it must be {least} to {most}");
                    Error::data(self.path(), problem)
                })?;
            }
            at += chunk.len() as u64;
        }
        Ok(())
    }
}
