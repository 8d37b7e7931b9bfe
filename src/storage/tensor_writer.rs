//! A safetensors file that is written piece by piece: its tensors need not be in memory, nor come in order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;

use super::tensor_file::PREFIX_BYTES;
use super::{Dtype, WholeFile};
use crate::error::{Error, Result};

/// A file whose header is written, and whose tensors are zero where nothing was written yet. It appears whole, when it
/// is finished, or not at all.
#[derive(Debug)]
pub struct TensorWriter {
    file: WholeFile,
    /// Where each tensor lies in the file.
    places: Vec<Range<u64>>,
    dtypes: Vec<Dtype>,
}

impl TensorWriter {
    /// Begins the file at `path`, which will replace what it holds, with tensors of these names, types and shapes.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, or the sizes make no file.
    pub fn create(path: &Path, tensors: &[(&str, Dtype, &[usize])]) -> Result<Self> {
        Self::new(WholeFile::create(path)?, tensors, &BTreeMap::new())
    }

    /// As [`TensorWriter::create`], in a file that was begun and is empty, and with metadata.
    ///
    /// # Errors
    /// As [`TensorWriter::create`].
    pub fn new(
        mut file: WholeFile,
        tensors: &[(&str, Dtype, &[usize])],
        metadata: &BTreeMap<&str, String>,
    ) -> Result<Self> {
        let (start, places) = layout(tensors, metadata).map_err(Error::io(file.path()))?;
        // So that the file has its whole length, whatever is written last.
        let length = places.iter().map(|place| place.end).max().unwrap_or(start.len() as u64);
        let begun = file.write_all(&start).and_then(|()| file.file().set_len(length));
        begun.map_err(Error::io(file.path()))?;
        Ok(Self { file, places, dtypes: tensors.iter().map(|(_, dtype, _)| *dtype).collect() })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes of a tensor, by its position among those given.
    pub fn bytes(&self, tensor: usize) -> u64 {
        self.places[tensor].end - self.places[tensor].start
    }

    /// Writes from byte `offset` of a tensor on.
    ///
    /// # Errors
    /// [`Error::Io`], also when the tensor ends before `bytes` do.
    pub fn write(&mut self, tensor: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let place = &self.places[tensor];
        let written = match place.start.checked_add(offset) {
            Some(at) if at + bytes.len() as u64 <= place.end => {
                self.file.file().seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(bytes))
            }
            _ => Err(io::Error::new(ErrorKind::InvalidInput, "more was written than the tensor holds")),
        };
        written.map_err(Error::io(self.file.path()))
    }

    /// Writes indices from index `first` of a tensor on, as its type of [`Dtype::of_indices`].
    ///
    /// # Errors
    /// As [`TensorWriter::write`].
    pub fn write_indices(&mut self, tensor: usize, first: u64, indices: &[u32]) -> Result<()> {
        let dtype = self.dtypes[tensor];
        let bytes: Cow<'_, [u8]> = if dtype == Dtype::I64 {
            let wide: Vec<i64> = indices.iter().map(|&index| index.into()).collect();
            bytemuck::pod_collect_to_vec(&wide).into()
        } else {
            // Small enough to be the same bits with a sign.
            bytemuck::cast_slice(indices).into()
        };
        self.write(tensor, dtype.bytes() as u64 * first, &bytes)
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        self.file.commit()
    }
}

/// A header whose bytes depend on nothing but what it says.
#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__", skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<&'a str, String>,
    #[serde(flatten)]
    tensors: Metadata,
}

/// The start of a file of these tensors, up to their data, and where each then lies in the file.
fn layout(
    tensors: &[(&str, Dtype, &[usize])],
    metadata: &BTreeMap<&str, String>,
) -> io::Result<(Vec<u8>, Vec<Range<u64>>)> {
    let mut end = 0;
    let mut infos = Vec::new();
    for &(name, dtype, shape) in tensors {
        let start = end;
        let size = shape.iter().try_fold(dtype.bytes(), |size, &length| size.checked_mul(length));
        end = size.and_then(|size| size.checked_add(end)).ok_or(ErrorKind::FileTooLarge)?;
        infos.push((
            name.to_owned(),
            TensorInfo { dtype: dtype.stored(), shape: shape.to_vec(), data_offsets: (start, end) },
        ));
    }
    let offsets: Vec<_> = infos.iter().map(|(_, info)| info.data_offsets).collect();
    let tensors = Metadata::new(None, infos).map_err(io::Error::other)?;
    let mut json = serde_json::to_vec(&Header { metadata, tensors })?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let start = PREFIX_BYTES + json.len() as u64;
    let places = offsets.iter().map(|&(first, end)| start + first as u64..start + end as u64).collect();
    Ok(([&(json.len() as u64).to_le_bytes()[..], &json].concat(), places))
}
