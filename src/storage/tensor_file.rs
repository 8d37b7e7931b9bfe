//! Tensors of a safetensors file, read by position: the header is checked as a whole, the data only as it is read.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Dtype;
use super::file_pool::{FilePool, PooledFile};
use super::header::{Fault, Header, printable};
use super::read_at::read_exact_at;
use crate::error::{Error, Result};

/// The format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes read at a time.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// Length prefix of the header.
pub(crate) const PREFIX_BYTES: u64 = 8;

/// A file whose header agrees with its size.
#[derive(Debug)]
pub(crate) struct TensorFile {
    file: PooledFile,
    pub(super) data_start: u64,
    pub(super) header: Header,
}

/// A tensor of f16, bf16 or f32 within a [`TensorFile`].
#[derive(Debug)]
pub(crate) struct FloatTensor {
    /// As messages show it.
    name: String,
    shape: Vec<usize>,
    kind: Kind,
    start: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    F16,
    Bf16,
    F32,
}

impl TensorFile {
    /// Opens `path`, for as long as this lives, and checks its header against its size.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Data`] when it is not a whole safetensors file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_in(&FilePool::new(1), path)
    }

    /// The same, but that the pool may close the file for others.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_in(pool: &Arc<FilePool>, path: &Path) -> Result<Self> {
        let pooled = PooledFile::open(path, pool)?;
        let (file, size) = (pooled.get()?, pooled.size());
        let damaged = |problem: String| {
            Error::data(path, format!("{problem}: not a safetensors file, or cut short; copy or write it again"))
        };
        if size < PREFIX_BYTES {
            return Err(damaged(format!("has only {size} bytes")));
        }
        let mut prefix = [0; PREFIX_BYTES as usize];
        read_exact_at(&file, &mut prefix, 0).map_err(Error::io(path))?;
        let header_bytes = u64::from_le_bytes(prefix);
        if header_bytes > (size - PREFIX_BYTES).min(MAX_HEADER_BYTES) {
            return Err(damaged(format!("announces a header of {header_bytes} bytes in a file of {size}")));
        }
        let mut json = vec![0; header_bytes as usize];
        read_exact_at(&file, &mut json, PREFIX_BYTES).map_err(Error::io(path))?;
        let header = Header::parse(&json).map_err(|fault| match fault {
            Fault::NotAHeader(problem) => damaged(format!("header: {}", printable(&problem))),
            Fault::Wrong(problem) => Error::data(path, format!("{problem}; write the file again")),
        })?;
        let data_start = PREFIX_BYTES + header_bytes;
        let needed = data_start.saturating_add(header.data_bytes() as u64);
        if size < needed {
            let problem = format!("was cut short: its header needs {needed} bytes, and it has {size}; write it again");
            return Err(Error::data(path, problem));
        }
        if size > needed {
            let problem = format!(
                "has bytes behind its last tensor, and the format allows none: its header needs {needed} bytes, and it \
                 has {size}; write it again"
            );
            return Err(Error::data(path, problem));
        }
        Ok(Self { file: pooled, data_start, header })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.size()
    }

    /// The checksum of what its header says, whatever the order in which it is said.
    pub(crate) fn header_checksum(&self) -> String {
        self.header.checksum()
    }

    /// Names of its tensors, in file order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.header.names()
    }

    /// A value of its free-form metadata.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata(key)
    }

    /// Finds a tensor of floats.
    ///
    /// # Errors
    /// [`Error::Data`] when it is missing or of another type.
    pub(crate) fn floats(&self, name: &str) -> Result<FloatTensor> {
        let Some(info) = self.header.tensor(name) else {
            let names: Vec<_> = self.names().iter().take(8).map(|name| printable(name)).collect();
            let problem = format!("has no tensor `{name}` (it has: {}); rename or add it", names.join(", "));
            return Err(Error::data(self.path(), problem));
        };
        let kind = match info.dtype() {
            Some(Dtype::F16) => Kind::F16,
            Some(Dtype::BF16) => Kind::Bf16,
            Some(Dtype::F32) => Kind::F32,
            other => {
                let cure = match other {
                    Some(Dtype::F64) => "convert it: x.astype('float32') in NumPy, x.float() in PyTorch",
                    _ => "write it as one of these",
                };
                let dtype = printable(&info.dtype);
                let problem = format!("tensor `{}` is {dtype}, not F16, BF16 or F32; {cure}", printable(name));
                return Err(Error::data(self.path(), problem));
            }
        };
        let start = self.data_start + info.data_offsets.0 as u64;
        Ok(FloatTensor { name: printable(name), shape: info.shape.clone(), kind, start })
    }

    /// The stored bytes of `count` values from value `first` on, in `scratch`, aligned for [`FloatTensor::decode`].
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] when the file has become shorter.
    pub(crate) fn read_bytes<'s>(
        &self,
        tensor: &FloatTensor,
        first: u64,
        count: usize,
        scratch: &'s mut Vec<u32>,
    ) -> Result<&'s [u8]> {
        let bytes = count * tensor.value_bytes();
        scratch.resize(bytes.div_ceil(4), 0);
        let buffer = &mut bytemuck::cast_slice_mut(scratch)[..bytes];
        self.read_at(&tensor.name, tensor.start + first * tensor.value_bytes() as u64, buffer)?;
        Ok(buffer)
    }

    pub(super) fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        read_exact_at(&*self.file.get()?, buffer, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                let problem = format!(
                    "ends inside tensor `{name}`: it was cut short after it was opened; restore it and start again"
                );
                Error::data(self.path(), problem)
            }
            _ => Error::io(self.path())(error),
        })
    }

    /// Type, shape and place in the file of a tensor, if it is of a type of [`Dtype`].
    pub(crate) fn place(&self, name: &str) -> Option<(Dtype, &[usize], Range<u64>)> {
        let info = self.header.tensor(name)?;
        let (start, end) = info.data_offsets;
        Some((info.dtype()?, &info.shape, self.data_start + start as u64..self.data_start + end as u64))
    }

    /// Fills `buffer` with the bytes of tensor `name` at `offset` of the file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] when the file has become shorter.
    pub(crate) fn read_raw(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read_at(name, offset, buffer)
    }

    /// Fills `out` with the values from `first` on, all of them finite.
    ///
    /// # Errors
    /// Those of [`Self::read_bytes`] and [`Self::check_finite`].
    pub(crate) fn read(&self, tensor: &FloatTensor, first: u64, out: &mut [f32]) -> Result<()> {
        let mut scratch = Vec::new();
        let mut at = first;
        for chunk in out.chunks_mut(CHUNK_BYTES / 4) {
            tensor.decode(self.read_bytes(tensor, at, chunk.len(), &mut scratch)?, chunk);
            self.check_finite(tensor, at, chunk)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Checks `values`, which start at value `first` of `tensor`.
    ///
    /// # Errors
    /// [`Error::Data`] naming tensor, row and column of the first NaN or infinity.
    pub(crate) fn check_finite(&self, tensor: &FloatTensor, first: u64, values: &[f32]) -> Result<()> {
        // Without an early exit the check is a handful of vector instructions.
        if values.iter().fold(true, |finite, value| finite & value.is_finite()) {
            return Ok(());
        }
        let Some(at) = values.iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        let index = first + at as u64;
        let place = match tensor.shape[..] {
            [_, columns] => format!("row {}, column {}", index / columns as u64, index % columns as u64),
            _ => format!("element {index}"),
        };
        let problem = format!(
            "tensor `{}`, {place} is {}: only finite numbers can be used; remove or recompute it",
            tensor.name, values[at]
        );
        Err(Error::data(self.path(), problem))
    }
}

impl FloatTensor {
    /// Its dimensions.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of its values.
    pub(crate) fn dtype(&self) -> Dtype {
        match self.kind {
            Kind::F16 => Dtype::F16,
            Kind::Bf16 => Dtype::BF16,
            Kind::F32 => Dtype::F32,
        }
    }

    /// Bytes of one stored value.
    pub(crate) fn value_bytes(&self) -> usize {
        self.dtype().bytes()
    }

    /// Converts whole values of [`TensorFile::read_bytes`] into as many f32, exactly.
    pub(crate) fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        // The casts hold: the bytes start a multiple of the value's size into a buffer of u32, little-endian as every
        // host of a GPU.
        match self.kind {
            Kind::F16 => bytemuck::cast_slice::<u8, f16>(bytes).convert_to_f32_slice(out),
            Kind::Bf16 => bytemuck::cast_slice::<u8, bf16>(bytes).convert_to_f32_slice(out),
            Kind::F32 => out.copy_from_slice(bytemuck::cast_slice(bytes)),
        }
    }
}
