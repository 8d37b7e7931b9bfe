//! What the decoder reads a file by: within its size, and no more at once than the file has.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::error::{Error, Result};
use crate::storage::file_pool::PooledFile;

/// The first and last bytes of a file.
const MAGIC: &[u8; 4] = b"PAR1";

/// Bytes behind the footer: its length, and the magic ones.
const TAIL_BYTES: u64 = 8;

/// The largest footer: that of many thousand row groups.
const MAX_FOOTER_BYTES: u64 = 16 << 20;

/// A file with a footer of a size that may be decoded.
#[derive(Debug)]
pub(super) struct Chunks(Arc<PooledFile>);

/// The rest of a file.
#[derive(Debug)]
pub(super) struct Rest {
    file: Arc<PooledFile>,
    at: u64,
}

impl Chunks {
    pub(super) fn open(file: &Arc<PooledFile>) -> Result<Self> {
        let (size, mut tail) = (file.size(), [0; TAIL_BYTES as usize]);
        let damaged = |problem: String| {
            Error::data(file.path(), format!("{problem}: not a Parquet file, or cut short; write it again"))
        };
        if size < TAIL_BYTES + MAGIC.len() as u64 {
            return Err(damaged(format!("has only {size} bytes")));
        }
        file.read("its footer", size - TAIL_BYTES, &mut tail)?;
        let [a, b, c, d, magic @ ..] = tail;
        if magic != *MAGIC {
            return Err(damaged("does not end as Parquet does".into()));
        }
        let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
        if footer > size - TAIL_BYTES - MAGIC.len() as u64 {
            return Err(damaged(format!("announces a footer of {footer} bytes in a file of {size}")));
        }
        if footer > MAX_FOOTER_BYTES {
            let problem =
                format!("has a footer of {footer} bytes, more than {MAX_FOOTER_BYTES}; write larger row groups");
            return Err(Error::data(file.path(), problem));
        }
        Ok(Self(file.clone()))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Chunks {
    type T = Rest;

    fn get_read(&self, start: u64) -> ParquetResult<Rest> {
        Ok(Rest { file: self.0.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.checked_add(length as u64).filter(|&end| end <= self.0.size());
        end.ok_or_else(|| ParquetError::EOF(format!("{length} bytes at byte {start} lie behind the end")))?;
        let mut bytes = vec![0; length];
        self.0.read("a page", start, &mut bytes).map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(bytes.into())
    }
}

impl Read for Rest {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.file.size().saturating_sub(self.at);
        let count = left.min(out.len() as u64) as usize;
        self.file.read("a page", self.at, &mut out[..count]).map_err(io::Error::other)?;
        self.at += count as u64;
        Ok(count)
    }
}
