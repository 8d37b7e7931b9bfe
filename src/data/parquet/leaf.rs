//! Columns of a Parquet file: which hold rows, and which numbers beside them.

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::schema::types::ColumnDescriptor;

use super::chunks::Chunks;
use crate::data::reader::Column;
use crate::storage::Dtype;
use crate::storage::header::printable;

/// Columns that a message names.
const SHOWN: usize = 8;

/// A column as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Its place among the file's.
    pub place: usize,
    pub dtype: Dtype,
    /// Whether it is of lists.
    is_of_lists: bool,
}

impl Leaf {
    /// A column of numbers, or of lists of floats.
    pub(super) fn of(place: usize, column: &ColumnDescriptor) -> Option<Self> {
        let is_of_lists = match column.max_rep_level() {
            0 => false,
            1 => true,
            _ => return None,
        };
        let dtype = match (column.physical_type(), column.logical_type_ref()) {
            (Type::FLOAT, _) => Dtype::F32,
            (Type::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16)) if column.type_length() == 2 => Dtype::F16,
            (Type::INT32, _) if column.converted_type() == ConvertedType::UINT_32 => Dtype::U32,
            (Type::INT64, _) if column.converted_type() == ConvertedType::UINT_64 => Dtype::U64,
            (Type::INT32, _) => Dtype::I32,
            (Type::INT64, _) => Dtype::I64,
            _ => return None,
        };
        Some(Self { place, dtype, is_of_lists })
    }

    /// Its name, for messages.
    pub(super) fn shown(&self, decoder: &SerializedFileReader<Chunks>) -> String {
        shown_name(&decoder.metadata().file_metadata().schema_descr().column(self.place))
    }

    /// Whether it can hold rows.
    fn is_of_rows(&self) -> bool {
        self.is_of_lists && matches!(self.dtype, Dtype::F16 | Dtype::F32)
    }
}

/// A column beside the rows, and what it is decoded from, if it is a number for each row.
pub(super) fn side_column(place: usize, column: &ColumnDescriptor, rows: u64) -> (Column, Option<Leaf>) {
    let leaf = Leaf::of(place, column).filter(|leaf| !leaf.is_of_lists && column.path().parts().len() == 1);
    let dtype = leaf.as_ref().map(|leaf| leaf.dtype);
    let (name, type_name) = (column.path().string(), type_name(column));
    (Column { name, type_name, dtype, shape: vec![rows as usize] }, leaf)
}

/// The place among the columns of the one that holds the rows: the one of that name, or else the only one that can.
pub(super) fn rows_column(columns: &[&ColumnDescriptor], name: &str) -> Result<usize, String> {
    let root = |column: &ColumnDescriptor| column.path().parts().first().is_some_and(|root| root == name);
    let is_of_rows = |&place: &usize| Leaf::of(place, columns[place]).is_some_and(|leaf| leaf.is_of_rows());
    let named: Vec<usize> = (0..columns.len()).filter(|&place| root(columns[place])).collect();
    let candidates: Vec<usize> = (0..columns.len()).filter(is_of_rows).collect();
    match (&named[..], &candidates[..]) {
        ([place], _) if is_of_rows(place) => Ok(*place),
        ([], [only]) => Ok(*only),
        ([place, ..], _) => {
            let of = type_name(columns[*place]);
            Err(format!("column `{}` is of {of}; give a list of float16 or float32 for each row", printable(name)))
        }
        ([], _) => {
            let described = columns.iter().take(SHOWN);
            let there: Vec<_> =
                described.map(|column| format!("{} ({})", shown_name(column), type_name(column))).collect();
            let cure = match candidates[..] {
                [] => "write one of lists of float16 or float32, a list for each row",
                _ => "name the one that holds the rows with --tensor",
            };
            let more = if columns.len() > SHOWN { ", ..." } else { "" };
            Err(format!("has no column `{}` (it has: {}{more}); {cure}", printable(name), there.join(", ")))
        }
    }
}

pub(super) fn shown_name(column: &ColumnDescriptor) -> String {
    printable(column.path().parts().first().map_or("", String::as_str))
}

fn type_name(column: &ColumnDescriptor) -> String {
    let lists = "list<".repeat(usize::try_from(column.max_rep_level()).unwrap_or(0).min(3));
    let stored = match Leaf::of(0, column) {
        Some(Leaf { dtype, .. }) => format!("{dtype:?}"),
        None => column.physical_type().to_string(),
    };
    format!("{lists}{stored}{}", ">".repeat(lists.len() / "list<".len()))
}
