//! What the rows of several files have in common.

use std::collections::BTreeMap;

use super::agreement::{self, Agreement, carried};
use super::relabel::{self, Relabel};
use crate::data::Activations;
use crate::data::reader::Reader;
use crate::error::{Error, Result};
use crate::storage::Dtype;

/// A row with its columns must not be larger: rows are held in memory many at a time.
const MAX_ROW_BYTES: usize = 1 << 28;

/// Columns of a file at most.
const MAX_COLUMNS: usize = 1024;

/// What every row has: values, and columns beside them.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::data) struct Schema {
    pub dtype: Dtype,
    /// Values per row.
    pub width: usize,
    pub columns: Vec<SchemaColumn>,
    pub metadata: BTreeMap<String, String>,
}

/// A column: `[rows]`, or `[rows, ..]` of any further dimensions.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::data) struct SchemaColumn {
    pub name: String,
    pub dtype: Dtype,
    /// Its dimensions after that of the rows.
    pub tail: Vec<usize>,
}

/// The rows of several files as one table.
#[derive(Debug)]
pub(in crate::data) struct Table<'a> {
    pub schema: Schema,
    pub rows: u64,
    /// Those that have rows.
    pub files: Vec<TableFile<'a>>,
    /// What is not carried along, or not as it was.
    pub notes: Vec<String>,
}

/// A file of a table.
#[derive(Debug)]
pub(in crate::data) struct TableFile<'a> {
    pub reader: &'a dyn Reader,
    /// For each column of the schema, the file's.
    pub columns: Vec<FileColumn>,
}

/// A column of a file, and how it becomes the table's.
#[derive(Debug)]
pub(in crate::data) struct FileColumn {
    /// Its place in [`Reader::columns`].
    pub place: usize,
    pub dtype: Dtype,
    pub row_bytes: usize,
    pub relabel: Relabel,
}

impl SchemaColumn {
    /// Bytes beside each row.
    pub fn row_bytes(&self) -> usize {
        self.tail.iter().product::<usize>() * self.dtype.bytes()
    }
}

impl Schema {
    /// Bytes of a row's values.
    pub fn value_bytes(&self) -> usize {
        self.width * self.dtype.bytes()
    }

    /// Bytes of a row with its columns.
    pub fn row_bytes(&self) -> usize {
        self.value_bytes() + self.columns.iter().map(SchemaColumn::row_bytes).sum::<usize>()
    }
}

impl<'a> Table<'a> {
    /// Compares the files, and finds one numbering for their sources and sequences: that may read these columns once.
    ///
    /// # Errors
    /// [`Error::Data`] for files that differ where agreement is required, and for sources that are none;
    /// [`Error::Io`].
    pub(super) fn new(data: &'a Activations, wanted: Agreement) -> Result<Self> {
        let readers: Vec<&dyn Reader> = data.readers().map(|(reader, _)| reader).filter(|r| r.rows() > 0).collect();
        if let Some(reader) = readers.iter().find(|reader| reader.columns().len() > MAX_COLUMNS) {
            let count = reader.columns().len();
            let problem = format!("has {count} columns beside its rows, more than {MAX_COLUMNS}; remove some");
            return Err(Error::data(reader.path(), problem));
        }
        let mut notes = Vec::new();
        let columns = wanted.columns(&readers, &mut notes)?;
        let schema = Schema {
            dtype: data.dtype(),
            width: data.width(),
            metadata: agreement::common_metadata(&readers, &mut notes),
            columns,
        };
        let files = readers.iter().map(|&reader| TableFile::new(reader, &schema)).collect();
        let mut table = Self { schema, rows: data.rows(), files, notes };
        table.check_row_bytes()?;
        relabel::unify_sources(&mut table)?;
        relabel::separate_sequences(&mut table)?;
        Ok(table)
    }

    /// The values alone.
    pub fn of_values(data: &'a Activations) -> Self {
        let readers = data.readers().map(|(reader, _)| reader).filter(|reader| reader.rows() > 0);
        let files = readers.map(|reader| TableFile { reader, columns: Vec::new() }).collect();
        let (columns, metadata) = (Vec::new(), BTreeMap::new());
        let schema = Schema { dtype: data.dtype(), width: data.width(), columns, metadata };
        Self { schema, rows: data.rows(), files, notes: Vec::new() }
    }

    /// The place of a column in the schema.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.schema.columns.iter().position(|column| column.name == name)
    }

    fn check_row_bytes(&self) -> Result<()> {
        let bytes = self.schema.columns.iter().try_fold(self.schema.value_bytes(), |sum, column| {
            column.tail.iter().try_fold(column.dtype.bytes(), |size, &n| size.checked_mul(n))?.checked_add(sum)
        });
        match (bytes, self.files.first()) {
            (Some(..=MAX_ROW_BYTES), _) | (_, None) => Ok(()),
            (_, Some(file)) => {
                let most = crate::units::readable_bytes(MAX_ROW_BYTES as u64);
                let problem = format!("a row with its columns takes more than {most}; remove the largest columns");
                Err(Error::data(file.reader.path(), problem))
            }
        }
    }
}

impl<'a> TableFile<'a> {
    fn new(reader: &'a dyn Reader, schema: &Schema) -> Self {
        let find = |wanted: &SchemaColumn| {
            let mut columns = carried(reader).filter(|(_, column)| column.name == wanted.name);
            // The schema has only columns that every file has.
            let (place, column) = columns.next()?;
            let row_bytes = wanted.row_bytes() / wanted.dtype.bytes() * column.dtype.bytes();
            Some(FileColumn { place, dtype: column.dtype, row_bytes, relabel: Relabel::Keep })
        };
        Self { reader, columns: schema.columns.iter().filter_map(find).collect() }
    }
}
