//! What the rows of several files have in common.

use std::collections::BTreeMap;
use std::path::Path;

use super::relabel::{self, Relabel};
use super::stored_integers;
use crate::data::Activations;
use crate::data::description::shared_metadata;
use crate::data::reader::Reader;
use crate::error::{Error, Result};
use crate::storage::Dtype;
use crate::storage::header::printable;

/// A row with its columns must not be larger: rows are held in memory many at a time.
const MAX_ROW_BYTES: usize = 1 << 28;

/// Columns of a file at most.
const MAX_COLUMNS: usize = 1024;

/// Names in the files that are written which no column can have.
const RESERVED: [&str; 2] = [Activations::TENSOR, "__metadata__"];

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

/// Whether files whose columns differ are refused, or lose the columns that differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::data) enum Agreement {
    Required,
    Sought,
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
    pub fn new(data: &'a Activations, agreement: Agreement) -> Result<Self> {
        let readers: Vec<&dyn Reader> = data.readers().map(|(reader, _)| reader).filter(|r| r.rows() > 0).collect();
        if let Some(reader) = readers.iter().find(|reader| reader.columns().len() > MAX_COLUMNS) {
            let count = reader.columns().len();
            let problem = format!("has {count} columns beside its rows, more than {MAX_COLUMNS}; remove some");
            return Err(Error::data(reader.path(), problem));
        }
        let mut notes = Vec::new();
        let columns = match agreement {
            Agreement::Required => same_columns(&readers, &mut notes)?,
            Agreement::Sought => common_columns(&readers, &mut notes),
        };
        let schema = Schema {
            dtype: data.dtype(),
            width: data.width(),
            metadata: common_metadata(&readers, &mut notes),
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

/// The columns of a file that can stand beside rows of the tensor `activations`, by their places.
fn carried(reader: &dyn Reader) -> impl Iterator<Item = (usize, SchemaColumn)> {
    reader.columns().iter().enumerate().filter_map(|(place, column)| {
        obstacle(reader, place).is_none().then_some(())?;
        let (name, tail) = (column.name.clone(), column.shape[1..].to_vec());
        Some((place, SchemaColumn { name, dtype: column.dtype?, tail }))
    })
}

/// Why a column cannot be a tensor beside the rows, if it cannot.
fn obstacle(reader: &dyn Reader, place: usize) -> Option<&'static str> {
    let columns = reader.columns();
    let column = &columns[place];
    if RESERVED.contains(&column.name.as_str()) {
        Some("its name has another meaning in what is written")
    } else if columns[..place].iter().any(|before| before.name == column.name) {
        Some("another column before it has the same name")
    } else if column.row_bytes(reader.rows()).is_none() {
        Some("it has not one entry for each row, or a type that cannot be copied")
    } else {
        None
    }
}

/// The columns of all files, which must be alike.
fn same_columns(readers: &[&dyn Reader], notes: &mut Vec<String>) -> Result<Vec<SchemaColumn>> {
    let Some((first, others)) = readers.split_first() else { return Ok(Vec::new()) };
    let expected: Vec<SchemaColumn> = carried(*first).map(|(_, column)| column).collect();
    for &reader in others {
        if let Some(difference) = difference(&expected, *first, reader) {
            let problem = format!(
                "{difference}; bring the files into one form first, with `monosem data convert`, which leaves behind \
                 what they do not share"
            );
            return Err(Error::data(reader.path(), problem));
        }
    }
    note_uncarried(readers, notes);
    Ok(expected)
}

/// How a file's rows differ from those of the first file, in words.
fn difference(expected: &[SchemaColumn], first: &dyn Reader, reader: &dyn Reader) -> Option<String> {
    let of_first = format!("of {}", shown_path(first.path()));
    if reader.dtype() != first.dtype() {
        return Some(format!("{} is {:?}, and that {of_first} {:?}", reader.label(), reader.dtype(), first.dtype()));
    }
    let found: Vec<SchemaColumn> = carried(reader).map(|(_, column)| column).collect();
    for column in expected {
        let name = printable(&column.name);
        match found.iter().find(|found| found.name == column.name) {
            None => return Some(format!("has no column `{name}` [rows, ..], and {} has", shown_path(first.path()))),
            Some(found) if found != column => {
                return Some(format!("column `{name}` is {}, and that {of_first} {}", form(found), form(column)));
            }
            Some(_) => {}
        }
    }
    let extra = found.iter().find(|found| expected.iter().all(|column| column.name != found.name))?;
    Some(format!("has a column `{}`, and {} has none", printable(&extra.name), shown_path(first.path())))
}

/// Type and shape, e.g. `I32 [rows, 4]`.
fn form(column: &SchemaColumn) -> String {
    let tail: String = column.tail.iter().map(|length| format!(", {length}")).collect();
    format!("{:?} [rows{tail}]", column.dtype)
}

/// The columns that all files have in one shape, integers in a type that holds those of all files.
fn common_columns(readers: &[&dyn Reader], notes: &mut Vec<String>) -> Vec<SchemaColumn> {
    note_uncarried(readers, notes);
    let Some((first, others)) = readers.split_first() else { return Vec::new() };
    let mut common: Vec<SchemaColumn> = carried(*first).map(|(_, column)| column).collect();
    let mut left = Vec::new();
    for &reader in others {
        let found: Vec<SchemaColumn> = carried(reader).map(|(_, column)| column).collect();
        for column in &found {
            if common.iter().all(|common| common.name != column.name) && !left.contains(&column.name) {
                left.push(column.name.clone());
            }
        }
        common.retain_mut(|column| {
            let other = found.iter().find(|other| other.name == column.name && other.tail == column.tail);
            let dtype = other.and_then(|other| common_type(column.dtype, other.dtype));
            dtype.inspect(|&dtype| column.dtype = dtype).is_some() || {
                left.push(column.name.clone());
                false
            }
        });
    }
    for name in left {
        notes.push(format!("`{}` is not carried along: not every file has it in one form", printable(&name)));
    }
    common
}

/// A type that holds the values of both.
fn common_type(one: Dtype, other: Dtype) -> Option<Dtype> {
    if one == other {
        return Some(one);
    }
    let (a, b) = (stored_integers::range(one)?, stored_integers::range(other)?);
    stored_integers::widened(one, &(*a.start().min(b.start())..=*a.end().max(b.end())))
}

fn note_uncarried(readers: &[&dyn Reader], notes: &mut Vec<String>) {
    for &reader in readers {
        for (place, column) in reader.columns().iter().enumerate() {
            let Some(reason) = obstacle(reader, place) else { continue };
            let note = format!("`{}` is not carried along: {reason}", printable(&column.name));
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
}

/// The metadata that all files share.
fn common_metadata(readers: &[&dyn Reader], notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let (common, mut left) = shared_metadata(readers);
    // Sources get one list of their own.
    left.retain(|key| key != "sources");
    if !left.is_empty() {
        let keys: Vec<String> = left.iter().take(8).map(|key| format!("`{}`", printable(key))).collect();
        let more = if left.len() > keys.len() { ", .." } else { "" };
        notes.push(format!("metadata that differs between the files is left out: {}{more}", keys.join(", ")));
    }
    common
}

/// A path as messages show it.
fn shown_path(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests;
