//! Messages of Arrow's formats: a prefix, a header, which is a flatbuffer, and a body of buffers.

use std::ops::Range;

use arrow_ipc::{Endianness, Message, MessageHeader, MetadataVersion, RecordBatch, root_as_message_with_opts};
use flatbuffers::VerifierOptions;

use super::schema::{Extent, Schema};

/// Bytes before each header: a mark, and the header's length.
pub(super) const PREFIX_BYTES: usize = 8;

/// Headers of more are of schemas with hundreds of thousands of columns.
const MAX_HEADER_BYTES: usize = 16 << 20;

/// What a message holds.
#[derive(Debug)]
pub(super) enum Content {
    Schema(Schema),
    Batch(Batch),
    /// Values of columns that are not read.
    Dictionary,
}

/// The header of a record batch.
#[derive(Debug)]
pub(super) struct Batch {
    /// Number of its items, of which each column has one.
    pub items: u64,
    pub nodes: Vec<Node>,
    /// Where the buffers lie in the body, which has them whole.
    pub buffers: Vec<Range<u64>>,
}

/// An array within a record batch: a column, or what a column's lists hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub length: u64,
    pub has_nulls: bool,
}

/// The length of the header behind a prefix; nothing behind the marker of the end.
pub(super) fn header_bytes(prefix: [u8; PREFIX_BYTES]) -> Result<Option<usize>, String> {
    let [mark @ .., a, b, c, d] = prefix;
    if mark != [0xff; 4] {
        return Err("does not start as a message does: it is damaged, or of Arrow before version 0.15".into());
    }
    match u32::from_le_bytes([a, b, c, d]) as usize {
        0 => Ok(None),
        length if length <= MAX_HEADER_BYTES => Ok(Some(length)),
        length => Err(format!("announces a header of {length} bytes, more than the {MAX_HEADER_BYTES} that are read")),
    }
}

/// Reads a header: what the message holds, and the length of its body.
pub(super) fn parse(header: &[u8]) -> Result<(Content, u64), String> {
    let limits = VerifierOptions {
        // A column takes two or more.
        max_tables: 200_000,
        // Parts of a header may be shared, and are copied each time.
        max_apparent_size: 2 * MAX_HEADER_BYTES,
        ..VerifierOptions::default()
    };
    let message = root_as_message_with_opts(&limits, header);
    // The verifier's own words are of several lines.
    let message = message.map_err(|error| format!("has a damaged header ({})", first_line(&error.to_string())))?;
    if message.version() < MetadataVersion::V4 || message.version() > MetadataVersion::V5 {
        return Err(format!("is of version {} of the format; versions 4 and 5 are known", message.version().0));
    }
    let body = u64::try_from(message.bodyLength()).map_err(|_| "has a body of less than no bytes")?;
    Ok((content(message, body)?, body))
}

fn content(message: Message<'_>, body: u64) -> Result<Content, String> {
    if let Some(schema) = message.header_as_schema() {
        if schema.endianness() != Endianness::Little {
            return Err("is of big-endian values; write it on a machine of little-endian order".into());
        }
        return Schema::parse(schema).map(Content::Schema);
    }
    if let Some(batch) = message.header_as_record_batch() {
        return Batch::parse(batch, body).map(Content::Batch);
    }
    match message.header_type() {
        MessageHeader::DictionaryBatch => Ok(Content::Dictionary),
        MessageHeader::Tensor | MessageHeader::SparseTensor => {
            Err("is a tensor, and only record batches are read".into())
        }
        other => Err(format!("is of kind {}, which is not known", other.0)),
    }
}

impl Batch {
    fn parse(batch: RecordBatch<'_>, body: u64) -> Result<Self, String> {
        if let Some(compression) = batch.compression() {
            let codec = compression.codec().variant_name().unwrap_or("another codec");
            return Err(format!(
                "is compressed ({codec}), and rows are read by position; write it without compression: \
                 compression='uncompressed' (Feather) or pyarrow.ipc.IpcWriteOptions(compression=None)"
            ));
        }
        let count = |number: i64| u64::try_from(number).map_err(|_| "has a damaged header: a length below 0");
        let nodes = batch.nodes().into_iter().flatten();
        let nodes = nodes.map(|node| Ok(Node { length: count(node.length())?, has_nulls: node.null_count() != 0 }));
        let buffers = batch.buffers().into_iter().flatten().map(|buffer| {
            let start = count(buffer.offset())?;
            let end = start.checked_add(count(buffer.length())?).filter(|&end| end <= body);
            end.map(|end| start..end)
                .ok_or_else(|| format!("has a damaged header: a buffer ends behind its body of {body} bytes"))
        });
        Ok(Self {
            items: count(batch.length())?,
            nodes: nodes.collect::<Result<_, String>>()?,
            buffers: buffers.collect::<Result<_, String>>()?,
        })
    }

    /// Checks that it has what a schema's columns take.
    pub(super) fn check(&self, extent: Extent) -> Result<(), String> {
        let (nodes, buffers) = (self.nodes.len(), self.buffers.len());
        if (nodes, buffers) == (extent.nodes, extent.buffers) {
            return Ok(());
        }
        Err(format!(
            "has {nodes} arrays and {buffers} buffers, and its schema says {} and {}; write it again",
            extent.nodes, extent.buffers
        ))
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(120).flat_map(char::escape_debug).collect()
}
