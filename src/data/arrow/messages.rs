//! The messages of a file, one after another.

use std::path::Path;

use super::layout::BatchPlace;
use super::message::{Batch, Content, PREFIX_BYTES, header_bytes, parse};
use super::schema::{Extent, Schema};
use crate::error::{Error, Result};
use crate::storage::file_pool::PooledFile;

/// The first and last bytes of a file that is not a mere stream.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";

/// Bytes before the messages of such a file: what some writers align all else to, and others less.
const MAX_FILE_START: usize = 64;

/// A file of messages that is being gone through.
#[derive(Debug)]
pub(super) struct Messages {
    file: PooledFile,
    /// Whether a footer follows the messages.
    has_footer: bool,
    /// Where the next message starts.
    at: u64,
    batches: u64,
}

/// A record batch in a file.
#[derive(Debug)]
pub(super) struct BatchMessage {
    pub batch: Batch,
    number: u64,
    offset: u64,
    /// Where its buffers' offsets count from.
    pub body: u64,
}

impl BatchMessage {
    pub(super) fn place<'a>(&self, path: &'a Path) -> BatchPlace<'a> {
        BatchPlace { path, number: self.number, offset: self.offset }
    }
}

impl Messages {
    pub(super) fn new(file: PooledFile) -> Result<Self> {
        let mut start = [0; MAX_FILE_START];
        let held = file.size().min(MAX_FILE_START as u64) as usize;
        file.read("its start", 0, &mut start[..held])?;
        let Some(padding) = start.strip_prefix(FILE_MAGIC) else {
            return Ok(Self { file, has_footer: false, at: 0, batches: 0 });
        };
        let mut end = [0; FILE_MAGIC.len()];
        file.read("its end", file.size().saturating_sub(FILE_MAGIC.len() as u64), &mut end)?;
        if end != *FILE_MAGIC || held < MAX_FILE_START {
            let problem = "was cut short: it starts as a file of Arrow's, and does not end as one; write it again";
            return Err(Error::data(file.path(), problem));
        }
        let zeros = padding.iter().take_while(|&&byte| byte == 0).count();
        let at = (FILE_MAGIC.len() + zeros) as u64;
        Ok(Self { file, has_footer: true, at, batches: 0 })
    }

    /// The first message, which is the schema.
    pub(super) fn schema(&mut self) -> Result<Schema> {
        match self.next()? {
            Some((_, Content::Schema(schema), _)) => Ok(schema),
            _ => Err(Error::data(self.file.path(), "does not start with a schema; write it again")),
        }
    }

    /// The next record batch, with the nodes and buffers of a schema's columns.
    pub(super) fn next_batch(&mut self, extent: Extent) -> Result<Option<BatchMessage>> {
        loop {
            match self.next()? {
                None => return Ok(None),
                Some((_, Content::Dictionary, _)) => {}
                Some((offset, Content::Schema(_), _)) => return Err(self.refuse(offset, "is a second schema")),
                Some((offset, Content::Batch(batch), body)) => {
                    let message = BatchMessage { batch, number: self.batches, offset, body };
                    self.batches += 1;
                    message.batch.check(extent).map_err(|problem| message.place(self.file.path()).refuse(problem))?;
                    return Ok(Some(message));
                }
            }
        }
    }

    pub(super) fn file(&self) -> &PooledFile {
        &self.file
    }

    pub(super) fn into_file(self) -> PooledFile {
        self.file
    }

    /// Where the next message starts, what it holds, and where its body starts; nothing at the end.
    fn next(&mut self) -> Result<Option<(u64, Content, u64)>> {
        let offset = self.at;
        let start = self.take(offset, PREFIX_BYTES as u64)?;
        let mut prefix = [0; PREFIX_BYTES];
        self.file.read("a message", start, &mut prefix)?;
        let Some(length) = header_bytes(prefix).map_err(|problem| self.refuse(offset, &problem))? else {
            return self.check_end().map(|()| None);
        };
        let start = self.take(offset, length as u64)?;
        let mut header = vec![0; length];
        self.file.read("a message", start, &mut header)?;
        let (content, body_bytes) = parse(&header).map_err(|problem| self.refuse(offset, &problem))?;
        let body = self.take(offset, body_bytes)?;
        Ok(Some((offset, content, body)))
    }

    /// Where the next so many bytes of the message at `offset` start.
    fn take(&mut self, offset: u64, bytes: u64) -> Result<u64> {
        let (start, size) = (self.at, self.file.size());
        if start == size && start == offset {
            let problem = format!(
                "ends after {} record batches without the marker of its end: its writer failed, or it was cut short; \
                 write it again",
                self.batches
            );
            return Err(Error::data(self.file.path(), problem));
        }
        let Some(end) = start.checked_add(bytes).filter(|&end| end <= size) else {
            let problem = format!(
                "was cut short: {bytes} bytes of the message at byte {offset} start at byte {start}, and the file has \
                 {size}; write it again"
            );
            return Err(Error::data(self.file.path(), problem));
        };
        self.at = end;
        Ok(start)
    }

    fn check_end(&self) -> Result<()> {
        if self.has_footer || self.at == self.file.size() {
            return Ok(());
        }
        let problem = format!(
            "has bytes behind the marker of its end, from byte {} on; give one stream in each file, and write it again",
            self.at
        );
        Err(Error::data(self.file.path(), problem))
    }

    fn refuse(&self, offset: u64, problem: &str) -> Error {
        Error::data(self.file.path(), format!("the message at byte {offset} {problem}"))
    }
}
