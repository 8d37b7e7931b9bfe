//! Activations in a safetensors file: a tensor [rows, width], and tensors beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::foreign;
use super::reader::{Column, Reader};
use crate::error::{Error, Result};
use crate::storage::Dtype;
use crate::storage::file_pool::FilePool;
use crate::storage::header::printable;
use crate::storage::tensor_file::TensorFile;

/// A file, and the tensor of it that holds the rows.
#[derive(Debug)]
pub(super) struct SafetensorsReader {
    file: TensorFile,
    label: String,
    rows: u64,
    width: usize,
    rows_place: Place,
    columns: Vec<Column>,
    /// Where each column lies; those of a type that cannot be read are at 0.
    column_places: Vec<Place>,
}

/// A tensor in the file.
#[derive(Clone, Debug)]
struct Place {
    /// As messages call it.
    name: String,
    dtype: Dtype,
    start: u64,
    row_bytes: u64,
}

impl SafetensorsReader {
    /// Opens the file `path`, whose tensor `name` holds the rows.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] for a file that is damaged, lacks the tensor, or has it in another type or
    /// rank.
    pub fn open(pool: &Arc<FilePool>, path: &Path, name: &str) -> Result<Self> {
        let file = TensorFile::open_in(pool, path)?;
        let [rows, width] = shape_of_rows(&file, name)?;
        let others = file.names().into_iter().filter(|other| *other != name);
        let columns: Vec<Column> = others.filter_map(|other| column(&file, other)).collect();
        // Both are tensors of the file, the rows of a type that can be read.
        let place = |name: &str, shape: &[usize]| {
            let (dtype, _, range) = file.place(name).unwrap_or((Dtype::U8, &[], 0..0));
            // A column without rows may be of more than can be counted.
            let row_bytes = shape.iter().skip(1).try_fold(dtype.bytes(), |bytes, &length| bytes.checked_mul(length));
            Place { name: printable(name), dtype, start: range.start, row_bytes: row_bytes.unwrap_or(0) as u64 }
        };
        Ok(Self {
            label: format!("tensor `{}`", printable(name)),
            rows: rows as u64,
            width,
            rows_place: place(name, &[rows, width]),
            column_places: columns.iter().map(|column| place(&column.name, &column.shape)).collect(),
            columns,
            file,
        })
    }

    fn read_place(&self, place: &Place, first: u64, out: &mut [u8]) -> Result<()> {
        self.file.read_raw(&place.name, place.start + first * place.row_bytes, out)
    }
}

impl Reader for SafetensorsReader {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn width(&self) -> usize {
        self.width
    }

    fn dtype(&self) -> Dtype {
        self.rows_place.dtype
    }

    fn read(&self, first: u64, out: &mut [u8]) -> Result<()> {
        self.read_place(&self.rows_place, first, out)
    }

    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn read_column(&self, column: usize, first: u64, out: &mut [u8]) -> Result<()> {
        self.read_place(&self.column_places[column], first, out)
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        self.file.metadata()
    }

    fn header_checksum(&self) -> String {
        self.file.header_checksum()
    }
}

fn column(file: &TensorFile, name: &str) -> Option<Column> {
    let (type_name, shape) = file.described(name)?;
    let dtype = file.place(name).map(|(dtype, ..)| dtype);
    Some(Column { name: name.to_owned(), type_name: type_name.to_owned(), dtype, shape: shape.to_vec() })
}

/// The shape [rows, width] of the tensor `name`.
fn shape_of_rows(file: &TensorFile, name: &str) -> Result<[usize; 2]> {
    let shown = printable(name);
    let names = file.names();
    if !names.contains(&name) {
        let there = names.iter().take(8).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
        let there = if there.is_empty() { "none at all".to_owned() } else { there };
        let is_candidate = |name: &&&str| file.floats(name).is_ok_and(|tensor| tensor.shape().len() == 2);
        let candidate = names
            .iter()
            .find(is_candidate)
            .map(|name| format!(", e.g. --tensor {}", foreign::shell_word(Path::new(name))));
        let problem = format!(
            "has no tensor `{shown}` (it has: {there}); name the one that holds the rows with --tensor{}",
            candidate.unwrap_or_default()
        );
        return Err(Error::data(file.path(), problem));
    }
    let tensor = file.floats(name)?;
    let problem = match *tensor.shape() {
        [rows, width @ (1..)] => return Ok([rows, width]),
        [.., last @ (1..)] if tensor.shape().len() > 2 => format!("flatten it: x.reshape(-1, {last})"),
        [_] => "give each row its width d: x.reshape(-1, d)".to_owned(),
        _ => "give rows of values".to_owned(),
    };
    let problem = format!(
        "tensor `{shown}` has shape {:?}; it must be [rows, width] with a width of at least 1; {problem}",
        tensor.shape()
    );
    Err(Error::data(file.path(), problem))
}
