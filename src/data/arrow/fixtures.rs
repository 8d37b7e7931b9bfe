//! Streams and files of Arrow's for tests, written by its own writers.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, GenericListArray, Int32Array, OffsetSizeTrait, RecordBatch,
};
use arrow_buffer::OffsetBuffer;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_ipc::{
    BodyCompression, BodyCompressionArgs, CompressionType, Message, MessageArgs, MessageHeader, MetadataVersion,
    RecordBatch as StoredBatch, RecordBatchArgs,
};
use arrow_schema::{Field, Schema};
use flatbuffers::FlatBufferBuilder;

/// Fields of some arrays.
pub(in crate::data) fn schema(columns: &[(&str, ArrayRef)]) -> Schema {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

/// A stream of batches of the columns of the first.
pub(in crate::data) fn stream(batches: &[Vec<(&str, ArrayRef)>]) -> Vec<u8> {
    stream_of(schema(&batches[0]), batches)
}

pub(in crate::data) fn stream_of(schema: Schema, batches: &[Vec<(&str, ArrayRef)>]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    for columns in batches {
        writer.write(&batch(&schema, columns)).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// A file of the same.
pub(in crate::data) fn file(batches: &[Vec<(&str, ArrayRef)>]) -> Vec<u8> {
    let schema = schema(&batches[0]);
    let mut writer = FileWriter::try_new(Vec::new(), &schema).unwrap();
    for columns in batches {
        writer.write(&batch(&schema, columns)).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn batch(schema: &Schema, columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let arrays = columns.iter().map(|(_, array)| array.clone()).collect();
    RecordBatch::try_new(Arc::new(schema.clone()), arrays).unwrap()
}

/// Values from `first` on, the rows' number in their hundreds.
pub(in crate::data) fn values(first: usize, rows: usize, width: usize) -> Vec<f32> {
    (first..first + rows).flat_map(|row| (0..width).map(move |column| (100 * row + column) as f32)).collect()
}

pub(in crate::data) fn floats(values: Vec<f32>) -> ArrayRef {
    Arc::new(Float32Array::from(values))
}

pub(in crate::data) fn ints(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

/// Lists of so many items, of a type that says it.
pub(in crate::data) fn fixed(items: ArrayRef, length: i32) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(field, length, items, None))
}

/// Lists of those lengths.
pub(in crate::data) fn lists(items: ArrayRef, lengths: &[usize]) -> ArrayRef {
    lists_of::<i32>(items, lengths)
}

/// The same with offsets of 64 bits.
pub(in crate::data) fn large_lists(items: ArrayRef, lengths: &[usize]) -> ArrayRef {
    lists_of::<i64>(items, lengths)
}

fn lists_of<O: OffsetSizeTrait>(items: ArrayRef, lengths: &[usize]) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(GenericListArray::<O>::new(field, offsets, items, None))
}

/// A stream that ends with the header of a record batch without arrays, compressed or not, before so long a body.
pub(in crate::data) fn batch_header(is_compressed: bool, body_bytes: i64) -> Vec<u8> {
    let mut stream = stream(&[vec![("activations", fixed(floats(vec![]), 2))]]);
    let mut builder = FlatBufferBuilder::new();
    let codec = BodyCompressionArgs { codec: CompressionType::ZSTD, ..Default::default() };
    let compression = is_compressed.then(|| BodyCompression::create(&mut builder, &codec));
    let batch = RecordBatchArgs { length: 1, compression, ..Default::default() };
    let batch = StoredBatch::create(&mut builder, &batch);
    let message = MessageArgs {
        version: MetadataVersion::V5,
        header_type: MessageHeader::RecordBatch,
        header: Some(batch.as_union_value()),
        bodyLength: body_bytes,
        ..Default::default()
    };
    let message = Message::create(&mut builder, &message);
    builder.finish(message, None);
    let header = builder.finished_data();
    // In place of the marker of the end.
    stream.truncate(stream.len() - 4);
    stream.extend((header.len() as u32).to_le_bytes());
    stream.extend(header);
    stream
}
