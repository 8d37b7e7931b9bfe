//! Activations in NumPy's format .npy: one array [rows, width].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::reader::{Column, Reader};
use crate::error::{Error, Result};
use crate::storage::file_pool::{FilePool, PooledFile};
use crate::storage::{Dtype, checksum};

mod header;

/// The first bytes of a file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Header of more are those of arrays with hundreds of named fields.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// What messages call the rows.
const LABEL: &str = "the array";

/// A file whose header agrees with its size.
#[derive(Debug)]
pub(super) struct NpyReader {
    file: PooledFile,
    rows: u64,
    width: usize,
    dtype: Dtype,
    data_start: u64,
    /// The format has none.
    metadata: BTreeMap<String, String>,
}

impl NpyReader {
    /// Opens the file `path`.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for a file that is damaged or holds no array [rows, width] of little-endian
    /// f16, bf16 (which NumPy calls `V2`) or f32 in C's order.
    pub fn open(pool: &Arc<FilePool>, path: &Path) -> Result<Self> {
        let file = PooledFile::open(path, pool)?;
        let refuse = |problem: String| Error::data(path, problem);
        let (text, data_start) = read_header(&file)?;
        let header = header::parse(&text).map_err(|problem| {
            refuse(format!("header: {problem}: not an array that NumPy wrote, or damaged; write it again"))
        })?;
        let dtype = dtype(&header).map_err(refuse)?;
        let [rows, width] = shape(&header).map_err(refuse)?;
        let data = [width, dtype.bytes() as u64].into_iter().try_fold(rows, u64::checked_mul);
        let needed = data.and_then(|data| data.checked_add(data_start));
        let Some(needed) = needed else {
            return Err(refuse(format!("announces an array {:?}, of more bytes than can be counted", header.shape)));
        };
        if needed != file.size() {
            let problem = match needed > file.size() {
                true => "was cut short",
                false => "has bytes behind its array",
            };
            let size = file.size();
            return Err(refuse(format!("{problem}: it needs {needed} bytes, and has {size}; write it again")));
        }
        let width = usize::try_from(width).ok().filter(|width| *width <= isize::MAX as usize / dtype.bytes());
        let width = width.ok_or_else(|| refuse(format!("has rows of {:?}, too wide for this system", header.shape)))?;
        Ok(Self { file, rows, width, dtype, data_start, metadata: BTreeMap::new() })
    }
}

impl Reader for NpyReader {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn bytes(&self) -> u64 {
        self.file.size()
    }

    fn label(&self) -> &str {
        LABEL
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn width(&self) -> usize {
        self.width
    }

    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn read(&self, first: u64, out: &mut [u8]) -> Result<()> {
        let row_bytes = (self.width * self.dtype.bytes()) as u64;
        self.file.read(LABEL, self.data_start + first * row_bytes, out)
    }

    fn columns(&self) -> &[Column] {
        &[]
    }

    fn read_column(&self, _column: usize, _first: u64, _out: &mut [u8]) -> Result<()> {
        Err(Error::data(self.path(), "has no columns"))
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn header_checksum(&self) -> String {
        let header = serde_json::json!({ "dtype": self.dtype, "shape": [self.rows, self.width as u64] });
        checksum(header.to_string().as_bytes())
    }
}

/// The header's text, and where it ends.
fn read_header(file: &PooledFile) -> Result<(Vec<u8>, u64)> {
    let damaged =
        |problem: String| Error::data(file.path(), format!("{problem}: not an array of NumPy; write it again"));
    let mut start = [0; 12];
    let held = start.len().min(usize::try_from(file.size()).unwrap_or(usize::MAX));
    file.read("its header", 0, &mut start[..held])?;
    let (length, text_start) = match start {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => (u32::from(u16::from_le_bytes([a, b])), 10_u64),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d] => (u32::from_le_bytes([a, b, c, d]), 12),
        [0x93, b'N', b'U', b'M', b'P', b'Y', version, ..] => {
            return Err(damaged(format!("is of version {version} of the format; versions 1 to 3 are known")));
        }
        _ => return Err(damaged("does not start as .npy does".into())),
    };
    let data_start = text_start + u64::from(length);
    if data_start > file.size() {
        return Err(damaged(format!("announces a header of {length} bytes in a file of {}", file.size())));
    }
    if length as usize > MAX_HEADER_BYTES {
        return Err(damaged(format!("has a header of {length} bytes, more than the {MAX_HEADER_BYTES} that are read")));
    }
    let mut text = vec![0; length as usize];
    file.read("its header", text_start, &mut text)?;
    Ok((text, data_start))
}

fn dtype(header: &header::Header) -> std::result::Result<Dtype, String> {
    let cure = match &*header.descr {
        "<f2" => return Ok(Dtype::F16),
        "<f4" => return Ok(Dtype::F32),
        // As ml_dtypes has bfloat16 written.
        "<V2" | "|V2" => return Ok(Dtype::BF16),
        ">f2" => "of big-endian order; convert it: x.astype('<f2')",
        ">f4" => "of big-endian order; convert it: x.astype('<f4')",
        "<f8" | ">f8" => "64-bit floats; convert it: x.astype('<f4')",
        "[" => {
            return Err("is an array of named fields; write one field [rows, width] of it: \
                        np.save(path, np.ascontiguousarray(x['FIELD']))"
                .into());
        }
        "|O" => "Python objects; stack its rows: np.stack(list(x)).astype('<f4')",
        _ => "not floats; convert it, if it holds activations: x.astype('<f4')",
    };
    let descr = header.descr.escape_debug();
    Err(format!("is an array of '{descr}', not '<f2', '<f4' or bfloat16 ('<V2'): {cure}"))
}

fn shape(header: &header::Header) -> std::result::Result<[u64; 2], String> {
    let shape = &header.shape;
    let cure = match shape[..] {
        [_, (1..)] if header.fortran_order => {
            return Err(format!(
                "is an array {shape:?} in Fortran's order, whose rows do not lie together; write it in C's: \
                 np.save(path, np.ascontiguousarray(x))"
            ));
        }
        [rows, width @ (1..)] => return Ok([rows, width]),
        [.., width @ (1..)] if shape.len() > 2 => format!("flatten it: x.reshape(-1, {width})"),
        [_] => "give each row its width d: x.reshape(-1, d)".into(),
        _ => "give rows of values".into(),
    };
    Err(format!("is an array {shape:?}; it must be [rows, width] with a width of at least 1; {cure}"))
}

#[cfg(test)]
mod tests;
