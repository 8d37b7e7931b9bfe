//! What files say of themselves, without their rows being read.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::reader::{Column, Reader};
use super::{Activations, Dtype};
use crate::error::Result;

/// What the files of some activations have beside their rows, and say of them.
#[derive(Clone, Debug)]
pub struct DataDescription {
    /// Number of files.
    pub files: usize,
    /// Their size together.
    pub bytes: u64,
    /// The types of their values, each with the number of files that have it.
    pub dtypes: Vec<(Dtype, usize)>,
    /// What stands beside the rows.
    pub columns: Vec<ColumnDescription>,
    /// The metadata that all files share.
    pub metadata: BTreeMap<String, String>,
    /// Names of the metadata that differ.
    pub differing_metadata: Vec<String>,
    /// Files with the same content ([`super::FileIdentity`]) as one before them, which comes second.
    pub duplicates: Vec<(PathBuf, PathBuf)>,
}

/// A tensor or column of some files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Its type, as the files call it.
    pub type_name: String,
    /// Its dimensions, e.g. `[rows, 4]`, or `[768]` if it has not one entry for each row.
    pub shape: String,
    /// Number of files that have it so.
    pub files: usize,
}

impl DataDescription {
    /// Looks into every file; up to 64 rows of each are read to find those of the same content.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), or [`Error::Data`](crate::Error::Data) when a file has become shorter.
    pub fn of(data: &Activations) -> Result<Self> {
        let readers: Vec<&dyn Reader> = data.readers().map(|(reader, _)| reader).collect();
        let mut dtypes: Vec<(Dtype, usize)> = Vec::new();
        let mut columns: Vec<ColumnDescription> = Vec::new();
        let mut places: HashMap<(&str, &str, String), usize> = HashMap::new();
        for &reader in &readers {
            match dtypes.iter_mut().find(|(dtype, _)| *dtype == reader.dtype()) {
                Some((_, files)) => *files += 1,
                None => dtypes.push((reader.dtype(), 1)),
            }
            for column in reader.columns() {
                let shape = shape(column, reader.rows());
                let place = *places.entry((&column.name, &column.type_name, shape.clone())).or_insert(columns.len());
                if place == columns.len() {
                    let (name, type_name) = (column.name.clone(), column.type_name.clone());
                    columns.push(ColumnDescription { name, type_name, shape, files: 0 });
                }
                columns[place].files += 1;
            }
        }
        let (metadata, differing_metadata) = shared_metadata(&readers);
        Ok(Self {
            files: readers.len(),
            bytes: readers.iter().map(|reader| reader.bytes()).sum(),
            dtypes,
            columns,
            metadata,
            differing_metadata,
            duplicates: duplicates(data)?,
        })
    }
}

#[cfg(feature = "arrow")]
impl DataDescription {
    /// What a stream says, of so many bytes.
    pub fn of_stream(stream: &super::RowStream, bytes: u64) -> Self {
        let column = |(name, dtype): &(String, Dtype)| ColumnDescription {
            name: name.clone(),
            type_name: format!("{dtype:?}"),
            shape: "[rows]".into(),
            files: 1,
        };
        Self {
            files: 1,
            bytes,
            dtypes: vec![(stream.dtype(), 1)],
            columns: stream.columns().iter().map(column).collect(),
            metadata: stream.metadata().clone(),
            differing_metadata: Vec::new(),
            duplicates: Vec::new(),
        }
    }
}

fn shape(column: &Column, rows: u64) -> String {
    let (first, rest) = column.shape.split_first().map_or((None, &[][..]), |(first, rest)| (Some(*first), rest));
    let first = first.map(|first| if first as u64 == rows { "rows".to_owned() } else { first.to_string() });
    let dimensions: Vec<String> = first.into_iter().chain(rest.iter().map(usize::to_string)).collect();
    format!("[{}]", dimensions.join(", "))
}

/// The metadata that all files have alike, and the names of the others.
pub(super) fn shared_metadata(readers: &[&dyn Reader]) -> (BTreeMap<String, String>, Vec<String>) {
    let Some((first, others)) = readers.split_first() else { return Default::default() };
    let mut shared = first.metadata().clone();
    for other in others {
        shared.retain(|key, value| other.metadata().get(key) == Some(value));
    }
    let keys = readers.iter().flat_map(|reader| reader.metadata().keys());
    let mut differing: Vec<String> = keys.filter(|key| !shared.contains_key(*key)).cloned().collect();
    differing.sort();
    differing.dedup();
    (shared, differing)
}

fn duplicates(data: &Activations) -> Result<Vec<(PathBuf, PathBuf)>> {
    let identities = data.identity()?;
    let mut known: HashMap<(u64, &str, &str), &Path> = HashMap::new();
    let mut duplicates = Vec::new();
    for file in identities.iter().filter(|file| file.rows > 0) {
        // The header tells width and type as well.
        let first = *known.entry((file.rows, &file.header, &file.rows_checksum)).or_insert(&file.path);
        if first != file.path {
            duplicates.push((file.path.clone(), first.to_owned()));
        }
    }
    Ok(duplicates)
}
