//! The headers of a column chunk's pages, looked through before any page is decoded: what they say is what a decoder
//! allocates.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::storage::file_pool::PooledFile;

/// Bytes of a header that are read; statistics make long ones.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Encodings of values, by the format's numbers. The decoder panics for some damaged values in others.
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE_DICTIONARY: i64 = 8;

/// Structures within structures: the format has three.
const MAX_DEPTH: usize = 8;

/// What the pages of a column chunk may be in all.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Where they lie in the file.
    pub chunk: Range<u64>,
    /// Of its pages when they are decompressed.
    pub uncompressed: u64,
    pub values: u64,
}

/// A page by its header.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Page {
    header_bytes: usize,
    uncompressed: u64,
    compressed: u64,
    /// Of a page of data, the nulls included.
    values: u64,
    /// Of a dictionary.
    entries: u64,
    has_dictionary: bool,
    /// Of the values of a page of data.
    encoding: Option<i64>,
}

/// Checks that the pages of a column chunk are no more than its bounds.
pub(super) fn check(file: &PooledFile, bounds: Bounds) -> Result<()> {
    let Bounds { chunk: Range { start, end }, uncompressed, values } = bounds;
    let (mut at, mut uncompressed_left, mut values_left) = (start, uncompressed, values);
    let mut has_dictionary = false;
    let mut buffer = vec![0; MAX_HEADER_BYTES.min(usize::try_from(end - start).unwrap_or(MAX_HEADER_BYTES))];
    while at < end {
        let refuse = |problem: &str| {
            Error::data(file.path(), format!("is damaged: the page at byte {at} {problem}; write it again"))
        };
        let held = (buffer.len() as u64).min(end - at) as usize;
        file.read("a page", at, &mut buffer[..held])?;
        let page = Page::parse(&buffer[..held]).ok_or_else(|| refuse("has a damaged header"))?;
        let next = at + page.header_bytes as u64 + page.compressed;
        if next > end {
            return Err(refuse("ends behind its column"));
        }
        // Its header counts, too.
        let taken = page.uncompressed.checked_add(page.header_bytes as u64);
        let left = taken.and_then(|taken| uncompressed_left.checked_sub(taken));
        uncompressed_left = left.ok_or_else(|| refuse("makes its column larger than that says"))?;
        // An entry has bytes of its own.
        if page.entries > page.uncompressed {
            return Err(refuse("has more entries than bytes"));
        }
        has_dictionary |= page.has_dictionary;
        match page.encoding {
            // A decoder that has none panics.
            Some(PLAIN_DICTIONARY | RLE_DICTIONARY) if !has_dictionary => {
                return Err(refuse("is of a dictionary that its column lacks"));
            }
            None | Some(PLAIN | PLAIN_DICTIONARY | RLE_DICTIONARY) => {}
            Some(other) => {
                let problem = format!(
                    "has values in an encoding that is not read ({other}, at byte {at}); write them plain or with a \
                     dictionary, as pyarrow does by default"
                );
                return Err(Error::data(file.path(), problem));
            }
        }
        let left = values_left.checked_sub(page.values);
        values_left = left.ok_or_else(|| refuse("gives its column more values than that says"))?;
        at = next;
    }
    Ok(())
}

impl Page {
    /// Reads a header, a structure of Thrift's compact protocol.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut input, mut page) = (Input { bytes, at: 0 }, Self::default());
        let mut field = 0;
        while let Some(kind) = input.field(&mut field)? {
            match (field, kind) {
                (2 | 3, I32) => {
                    let size = u64::try_from(input.number()?).ok()?;
                    *(if field == 2 { &mut page.uncompressed } else { &mut page.compressed }) = size;
                }
                // A page of data, a dictionary, or a page of data of version 2: its values come first.
                (5 | 7 | 8, STRUCT) => {
                    page.has_dictionary |= field == 7;
                    let mut inner = 0;
                    while let Some(kind) = input.field(&mut inner)? {
                        match (inner, kind) {
                            (1, I32) => {
                                let count = u64::try_from(input.number()?).ok()?;
                                let most = if field == 7 { &mut page.entries } else { &mut page.values };
                                *most = count.max(*most);
                            }
                            (2, I32) if field == 5 => page.encoding = Some(input.number()?),
                            (4, I32) if field == 8 => page.encoding = Some(input.number()?),
                            _ => input.skip(kind, MAX_DEPTH)?,
                        }
                    }
                }
                _ => input.skip(kind, MAX_DEPTH)?,
            }
        }
        page.header_bytes = input.at;
        Some(page)
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

/// Bytes of Thrift's compact protocol.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A number without sign.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A number whose lowest bit is its sign.
    fn number(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// The kind of the next field, whose number follows `last`; nothing at the end of the structure.
    fn field(&mut self, last: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        let (step, kind) = (byte >> 4, byte & 0x0f);
        if kind == 0 {
            return Some(None);
        }
        *last = if step == 0 { self.number()? } else { last.checked_add(i64::from(step))? };
        Some(Some(kind))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            TRUE | FALSE => {}
            BYTE => self.at = self.at.checked_add(1)?,
            I16 | I32 | I64 => drop(self.varint()?),
            DOUBLE => self.at = self.at.checked_add(8)?,
            BINARY => self.at = usize::try_from(self.varint()?).ok().and_then(|length| self.at.checked_add(length))?,
            LIST | SET => {
                let byte = self.byte()?;
                let count = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
                for _ in 0..count {
                    // In a list, a boolean takes a byte.
                    let kind = if matches!(byte & 0x0f, TRUE | FALSE) { BYTE } else { byte & 0x0f };
                    self.skip(kind, depth)?;
                    // Items of no bytes may be without end.
                    (self.at <= self.bytes.len()).then_some(())?;
                }
            }
            STRUCT => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth)?;
                }
            }
            _ => return None,
        }
        (self.at <= self.bytes.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of 3 values, 100 bytes that take 40, with a CRC and statistics.
    const HEADER: &[u8] = &[
        0x15, 0x00, 0x15, 0xc8, 0x01, 0x15, 0x50, 0x15, 0x07, // type, sizes, CRC
        0x1c, 0x15, 0x06, 0x15, 0x00, 0x3c, 0x18, 0x02, 1, 2, 0x00, 0x00, // its values, an encoding, statistics
        0x00,
    ];

    #[test]
    fn headers_are_read() {
        let page = Page {
            header_bytes: 22,
            uncompressed: 100,
            compressed: 40,
            values: 3,
            encoding: Some(0),
            ..Page::default()
        };
        assert_eq!(Page::parse(HEADER), Some(page));
        assert_eq!(Page::parse(&[HEADER, &[0xff; 4]].concat()), Some(page));
        for length in 0..HEADER.len() {
            assert_eq!(Page::parse(&HEADER[..length]), None, "{length}");
        }
    }

    #[test]
    fn what_a_header_cannot_hold_is_refused() {
        let deep = [&[0x9c; 1][..], &[0x1c; 20], &[0; 21]].concat();
        let list_without_end = [0x99, 0xf1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let long = [0x98, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
        for bytes in [&deep[..], &list_without_end, &long, &[0x25, 0x01, 0x00], &[0x9d, 0x00]] {
            assert_eq!(Page::parse(bytes), None, "{bytes:?}");
        }
    }
}
