//! Where the values of a column lie in a record batch.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use super::message::{Batch, Node};
use super::schema::{Extent, Field, Kind, Schema};
use crate::error::Error;
use crate::storage::Dtype;
use crate::storage::header::printable;

/// Bytes of offsets that are read at a time.
const OFFSET_PIECE: usize = 64 << 10;

/// A column of numbers, or of lists of them, or of lists of those.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub name: String,
    pub dtype: Dtype,
    /// The lists around the values, from the outside.
    levels: Vec<Level>,
    /// Its place among the nodes and buffers of a batch.
    place: Extent,
}

/// Lists of one length.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Bytes of an offset; nothing, if the type itself says the length.
    offset_bytes: Option<usize>,
    /// Not known before the first list.
    length: Option<u64>,
}

/// Why the values of a column are not found in a batch.
#[derive(Debug)]
pub(super) enum Fault {
    Nulls,
    /// A list, by its number in the batch, is of another length than those before it.
    Lengths {
        list: u64,
        length: u64,
        before: u64,
    },
    /// The batch contradicts itself.
    Damaged(&'static str),
    /// The file cannot be read.
    Unread(Error),
}

/// A record batch within a file or stream, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchPlace<'a> {
    pub path: &'a Path,
    /// Its number, the first being 0.
    pub number: u64,
    /// Where its message starts.
    pub offset: u64,
}

/// Items of an array that follow each other.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    count: u64,
}

impl BatchPlace<'_> {
    pub(super) fn refuse(&self, problem: impl Display) -> Error {
        Error::data(self.path, format!("record batch {} (byte {}) {problem}", self.number, self.offset))
    }
}

impl Fault {
    /// The error that it is for whoever needs the column.
    pub(super) fn of_column(self, name: &str, place: BatchPlace<'_>) -> Error {
        let name = printable(name);
        place.refuse(match self {
            Self::Nulls => format!("has nulls in column `{name}`; leave those rows out: table.drop_null()"),
            Self::Lengths { list, length, before } => format!(
                "has {length} items in list {list} of column `{name}`, and {before} in those before it; give lists of \
                 one length"
            ),
            Self::Damaged(problem) => format!("is damaged: column `{name}` {problem}; write it again"),
            Self::Unread(error) => return error,
        })
    }
}

impl Layout {
    /// The columns of a schema, by their place in it, that are numbers or lists of them.
    pub(super) fn of_columns(schema: &Schema) -> Vec<Option<Self>> {
        let mut place = Extent::default();
        let columns = schema.fields.iter().map(|field| {
            let layout = Self::of(field, place);
            place = place + field.extent();
            layout
        });
        columns.collect()
    }

    fn of(field: &Field, place: Extent) -> Option<Self> {
        let (mut levels, mut inner) = (Vec::new(), field);
        loop {
            levels.push(match inner.kind {
                Kind::Values(stored) => {
                    let is_bf16 = stored == Dtype::U16 && (field.says_bf16 || inner.says_bf16);
                    let dtype = if is_bf16 { Dtype::BF16 } else { stored };
                    return Some(Self { name: field.name.clone(), dtype, levels, place });
                }
                Kind::List { offset_bytes } => Level { offset_bytes: Some(offset_bytes), length: None },
                Kind::FixedSizeList(length) => Level { offset_bytes: None, length: Some(length) },
                Kind::Other { .. } => return None,
            });
            inner = inner.children.first()?;
        }
    }

    /// Whether it holds rows: lists of floats, or lists of those.
    pub(super) fn is_of_rows(&self) -> bool {
        matches!(self.levels.len(), 1 | 2) && matches!(self.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32)
    }

    /// Whether the type itself says how long its lists are.
    pub(super) fn is_of_fixed_size(&self) -> bool {
        self.levels.iter().all(|level| level.offset_bytes.is_none())
    }

    /// Whether lists of it are known to hold nothing.
    pub(super) fn has_empty_lists(&self) -> bool {
        self.levels.iter().any(|level| level.length == Some(0))
    }

    /// Number of lists around a value.
    pub(super) fn rank(&self) -> usize {
        self.levels.len()
    }

    /// The lengths of its lists, from the outside; nothing, if no list was seen.
    pub(super) fn lengths(&self) -> Option<Vec<u64>> {
        self.levels.iter().map(|level| level.length).collect()
    }

    /// Where the values of a batch start in its body, all of which it has.
    ///
    /// `read` fills a buffer with the bytes at an offset of the body.
    pub(super) fn values(
        &mut self,
        batch: &Batch,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), Error>,
    ) -> Result<u64, Fault> {
        let mut nodes = batch.nodes.iter().skip(self.place.nodes);
        // The first buffer of an array tells its nulls, of which it has none.
        let mut buffers = batch.buffers.iter().skip(self.place.buffers);
        let mut span = Span { first: 0, count: batch.items };
        for level in &mut self.levels {
            span.check(nodes.next())?;
            buffers.next();
            span = match level.offset_bytes {
                Some(offset_bytes) => {
                    let offsets = buffers.next().ok_or(TOO_FEW)?;
                    level.inside(span, offset_bytes, offsets.clone(), &mut read)?
                }
                None => span.times(level.length.unwrap_or(0))?,
            };
        }
        span.check(nodes.next())?;
        buffers.next();
        let bytes = span.times(self.dtype.bytes() as u64)?;
        Ok(bytes.within(buffers.next().ok_or(TOO_FEW)?)?.start)
    }
}

impl Level {
    /// The items in lists that must be of one length.
    fn inside(
        &mut self,
        lists: Span,
        offset_bytes: usize,
        offsets: Range<u64>,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), Error>,
    ) -> Result<Span, Fault> {
        if lists.count == 0 {
            return Ok(lists);
        }
        let count = lists.count.checked_add(1).ok_or(TOO_MANY)?;
        let wanted = Span { count, ..lists }.times(offset_bytes as u64)?.within(&offsets)?;
        let mut seen = Offsets { length: self.length, first: None, last: 0, count: 0 };
        let mut piece = vec![0; OFFSET_PIECE.min((wanted.end - wanted.start) as usize)];
        for start in wanted.clone().step_by(OFFSET_PIECE) {
            let piece = &mut piece[..OFFSET_PIECE.min((wanted.end - start) as usize)];
            read(start, piece).map_err(Fault::Unread)?;
            for bytes in piece.chunks_exact(offset_bytes) {
                seen.add(bytes)?;
            }
        }
        let length = *self.length.insert(seen.length.unwrap_or(0));
        let inside = lists.count.checked_mul(length).ok_or(TOO_MANY)?;
        Ok(Span { first: seen.first.unwrap_or(0), count: inside })
    }
}

const TOO_FEW: Fault = Fault::Damaged("has fewer values than it says");
const TOO_MANY: Fault = Fault::Damaged("has more values than can be counted");

impl Span {
    /// Checks that an array has these items, and no nulls.
    fn check(self, array: Option<&Node>) -> Result<(), Fault> {
        let array = array.ok_or(TOO_FEW)?;
        if self.first.checked_add(self.count).is_none_or(|end| end > array.length) {
            return Err(TOO_FEW);
        }
        if array.has_nulls { Err(Fault::Nulls) } else { Ok(()) }
    }

    /// What the items are, if each is so many of something.
    fn times(self, factor: u64) -> Result<Self, Fault> {
        let scaled = self.first.checked_mul(factor).zip(self.count.checked_mul(factor));
        scaled.map(|(first, count)| Self { first, count }).ok_or(TOO_MANY)
    }

    /// Where the bytes are that this counts from the start of a buffer.
    fn within(self, buffer: &Range<u64>) -> Result<Range<u64>, Fault> {
        let start = buffer.start.checked_add(self.first).ok_or(TOO_MANY)?;
        let end = start.checked_add(self.count).ok_or(TOO_MANY)?;
        if end > buffer.end { Err(TOO_FEW) } else { Ok(start..end) }
    }
}

/// Offsets of lists, looked through one after another.
struct Offsets {
    /// Of a list.
    length: Option<u64>,
    first: Option<u64>,
    last: u64,
    count: u64,
}

impl Offsets {
    fn add(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        const BELOW: Fault = Fault::Damaged("has offsets that descend");
        let offset = match *bytes {
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => return Err(TOO_FEW),
        };
        let offset = u64::try_from(offset).map_err(|_| BELOW)?;
        if self.first.is_some() {
            let length = offset.checked_sub(self.last).ok_or(BELOW)?;
            let before = *self.length.get_or_insert(length);
            if length != before {
                return Err(Fault::Lengths { list: self.count - 1, length, before });
            }
        }
        self.first.get_or_insert(offset);
        self.last = offset;
        self.count += 1;
        Ok(())
    }
}
