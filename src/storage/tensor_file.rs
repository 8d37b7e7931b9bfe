//! Tensors of a safetensors file, read by position: the header is checked as a whole, the data only as it is read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::Dtype;
use super::file_pool::{FilePool, PooledFile};
use super::floats::decode;
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
    dtype: Dtype,
    start: u64,
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

    /// Its free-form metadata.
    pub(crate) fn metadata(&self) -> &BTreeMap<String, String> {
        self.header.metadata()
    }

    /// Type, as the file names it, and shape of a tensor.
    pub(crate) fn described(&self, name: &str) -> Option<(&str, &[usize])> {
        self.header.tensor(name).map(|info| (info.dtype.as_str(), &*info.shape))
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
        let dtype = match info.dtype() {
            Some(dtype @ (Dtype::F16 | Dtype::BF16 | Dtype::F32)) => dtype,
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
        Ok(FloatTensor { name: printable(name), shape: info.shape.clone(), dtype, start })
    }

    /// Fills `buffer` with the bytes of tensor `name` at `offset` of the file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] when the file has become shorter.
    pub(crate) fn read_raw(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read(format_args!("tensor `{name}`"), offset, buffer)
    }

    /// Type, shape and place in the file of a tensor, if it is of a type of [`Dtype`].
    pub(crate) fn place(&self, name: &str) -> Option<(Dtype, &[usize], Range<u64>)> {
        let info = self.header.tensor(name)?;
        let (start, end) = info.data_offsets;
        Some((info.dtype()?, &info.shape, self.data_start + start as u64..self.data_start + end as u64))
    }

    /// Fills `out` with the values from `first` on, all of them finite.
    ///
    /// # Errors
    /// Those of [`Self::read_raw`] and [`Self::check_finite`].
    pub(crate) fn read(&self, tensor: &FloatTensor, first: u64, out: &mut [f32]) -> Result<()> {
        let (value_bytes, mut scratch) = (tensor.dtype.bytes(), vec![0_u32; CHUNK_BYTES / 4]);
        let mut at = first;
        for chunk in out.chunks_mut(CHUNK_BYTES / 4) {
            let bytes = &mut bytemuck::cast_slice_mut(&mut scratch)[..chunk.len() * value_bytes];
            self.read_raw(&tensor.name, tensor.start + at * value_bytes as u64, bytes)?;
            decode(tensor.dtype, bytes, chunk);
            self.check_finite(tensor, at, chunk)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Checks `values`, which start at value `first` of `tensor`.
    ///
    /// # Errors
    /// [`Error::Data`] naming tensor, row and column of the first NaN or infinity.
    fn check_finite(&self, tensor: &FloatTensor, first: u64, values: &[f32]) -> Result<()> {
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
}
