//! What the columns and the metadata of several files have in common.

use std::collections::BTreeMap;
use std::path::Path;

use super::stored_integers;
use super::table::SchemaColumn;
use crate::data::Activations;
use crate::data::description::shared_metadata;
use crate::data::reader::Reader;
use crate::error::{Error, Result};
use crate::storage::Dtype;
use crate::storage::header::printable;

/// Names in the files that are written which no column can have.
const RESERVED: [&str; 2] = [Activations::TENSOR, "__metadata__"];

/// Whether files whose columns differ are refused, or lose the columns that differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Agreement {
    Required,
    Sought,
}

impl Agreement {
    /// The columns of rows of all files, and notes on those that are left behind.
    ///
    /// # Errors
    /// [`Error::Data`] for files that differ where agreement is required.
    pub fn columns(self, readers: &[&dyn Reader], notes: &mut Vec<String>) -> Result<Vec<SchemaColumn>> {
        match self {
            Self::Required => same_columns(readers, notes),
            Self::Sought => Ok(common_columns(readers, notes)),
        }
    }
}

/// The columns of a file that can stand beside rows of the tensor `activations`, by their places.
pub(super) fn carried(reader: &dyn Reader) -> impl Iterator<Item = (usize, SchemaColumn)> {
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
pub(super) fn common_metadata(readers: &[&dyn Reader], notes: &mut Vec<String>) -> BTreeMap<String, String> {
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
