//! The rows of a table in order, many at a time, read ahead on a thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::table::{FileColumn, SchemaColumn, Table};
use crate::data::reader::Reader;
use crate::error::Result;

/// Blocks that are read or in use at a time.
const DEPTH: usize = 3;

/// Consecutive rows of a file.
#[derive(Debug, Default)]
pub(in crate::data) struct Block {
    /// The file's place in [`Table::files`].
    pub file: usize,
    /// The first row's number in its file.
    pub first: u64,
    /// The first row's number among all rows.
    pub first_of_all: u64,
    pub rows: usize,
    /// Words of the values, so that they are aligned as floats.
    values: Vec<u32>,
    value_bytes: usize,
    /// For each column of the schema, its values.
    pub columns: Vec<Vec<u8>>,
    /// Stored values of a column that is to be relabelled.
    scratch: Vec<u8>,
}

impl Block {
    /// The values of the rows, as they are stored.
    pub fn values(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.values)[..self.value_bytes]
    }

    fn read(&mut self, reader: &dyn Reader, columns: &[FileColumn], schema: &[SchemaColumn]) -> Result<()> {
        self.value_bytes = self.rows * reader.width() * reader.dtype().bytes();
        self.values.resize(self.value_bytes.div_ceil(4), 0);
        reader.read(self.first, &mut bytemuck::cast_slice_mut(&mut self.values)[..self.value_bytes])?;
        self.columns.resize_with(columns.len(), Vec::new);
        for ((column, wanted), out) in columns.iter().zip(schema).zip(&mut self.columns) {
            if column.is_kept(wanted.dtype) {
                out.resize(self.rows * column.row_bytes, 0);
                reader.read_column(column.place, self.first, out)?;
            } else {
                self.scratch.resize(self.rows * column.row_bytes, 0);
                reader.read_column(column.place, self.first, &mut self.scratch)?;
                column.relabel(&self.scratch, wanted.dtype, out);
            }
        }
        Ok(())
    }
}

/// Gives all rows from row `first` on, in blocks of about `block_bytes`, until `take` returns false.
///
/// # Errors
/// Those of the files, and those of `take`.
pub(in crate::data) fn for_each_block(
    table: &Table<'_>,
    first: u64,
    block_bytes: usize,
    mut take: impl FnMut(&Block) -> Result<bool>,
) -> Result<()> {
    let ((full, filled), (empty, emptied)) = (sync_channel(DEPTH), sync_channel(DEPTH));
    // Both ends of this side are dropped before the thread is waited for.
    thread::scope(move |scope| {
        for _ in 0..DEPTH {
            // There is room for all of them.
            let _ = empty.send(Block::default());
        }
        scope.spawn(move || read_all(table, first, block_bytes, &emptied, &full));
        while let Ok(block) = filled.recv() {
            let block: Block = block?;
            if !take(&block)? {
                break;
            }
            // The reader is done when it takes none.
            let _ = empty.send(block);
        }
        Ok(())
    })
}

/// Fills empty blocks until all is read, something fails, or nobody wants more.
fn read_all(
    table: &Table<'_>,
    first: u64,
    block_bytes: usize,
    emptied: &Receiver<Block>,
    full: &SyncSender<Result<Block>>,
) {
    let mut start = 0;
    for (place, file) in table.files.iter().enumerate() {
        let (rows, width) = (file.reader.rows(), file.reader.width() * file.reader.dtype().bytes());
        let bytes = width + file.columns.iter().map(|column| column.row_bytes).sum::<usize>();
        let most = (block_bytes / bytes.max(1)).max(1) as u64;
        let mut at = first.saturating_sub(start).min(rows);
        while at < rows {
            let Ok(mut block) = emptied.recv() else { return };
            let count = most.min(rows - at);
            (block.file, block.first, block.first_of_all, block.rows) = (place, at, start + at, count as usize);
            let read = block.read(file.reader, &file.columns, &table.schema.columns);
            let failed = read.is_err();
            if full.send(read.map(|()| block)).is_err() || failed {
                return;
            }
            at += count;
        }
        start += rows;
    }
}
