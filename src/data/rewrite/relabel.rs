//! Sources and sequences of several files under one numbering.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::agreement::Agreement;
use super::stored_integers;
use super::table::{FileColumn, Table, TableFile};
use crate::data::Activations;
use crate::data::sources::list_names;
use crate::error::{Error, Result};
use crate::storage::Dtype;
use crate::storage::tensor_file::CHUNK_BYTES;

/// Sources are numbers below this.
const MAX_SOURCES: usize = 1 << 16;

/// How the integers of a file's column become the table's.
#[derive(Clone, Debug)]
pub(in crate::data) enum Relabel {
    Keep,
    /// Adds a number to each.
    Add(i128),
    /// Each is a place in this list.
    Lookup(Arc<[u16]>),
}

impl FileColumn {
    /// The column's values of some rows, as the table has them.
    pub fn relabel(&self, stored: &[u8], dtype: Dtype, out: &mut Vec<u8>) {
        out.clear();
        for value in stored.chunks_exact(self.dtype.bytes()).map(|bytes| stored_integers::decode(self.dtype, bytes)) {
            let value = match &self.relabel {
                Relabel::Keep => value,
                Relabel::Add(offset) => value + offset,
                // Every value was looked at when the list was made.
                Relabel::Lookup(list) => list.get(value as usize).copied().unwrap_or_default().into(),
            };
            stored_integers::encode(dtype, value, out);
        }
    }

    /// Whether the stored bytes are the table's.
    pub fn is_kept(&self, dtype: Dtype) -> bool {
        self.dtype == dtype && matches!(self.relabel, Relabel::Keep)
    }
}

/// The place of a column of one integer per row in the table.
fn integer_column(table: &Table<'_>, name: &str) -> Option<usize> {
    let place = table.column(name)?;
    let column = &table.schema.columns[place];
    (column.tail.is_empty() && stored_integers::range(column.dtype).is_some()).then_some(place)
}

/// Gives the integers of a file's column with their rows, in order.
fn scan(file: &TableFile<'_>, place: usize, mut take: impl FnMut(u64, i128) -> Result<()>) -> Result<()> {
    let column = &file.columns[place];
    let size = column.dtype.bytes();
    let (rows, most) = (file.reader.rows(), (CHUNK_BYTES / size) as u64);
    let mut bytes = Vec::new();
    for first in (0..rows).step_by(most as usize) {
        bytes.resize((rows - first).min(most) as usize * size, 0);
        file.reader.read_column(column.place, first, &mut bytes)?;
        for (row, bytes) in (first..).zip(bytes.chunks_exact(size)) {
            take(row, stored_integers::decode(column.dtype, bytes))?;
        }
    }
    Ok(())
}

/// Gives the sources of files with different lists one list, by their names.
pub(super) fn unify_sources(table: &mut Table<'_>) -> Result<()> {
    let Some(place) = integer_column(table, "source") else {
        table.schema.metadata.remove("sources");
        return Ok(());
    };
    let listed = |file: &TableFile<'_>| file.reader.metadata().get("sources").map(|text| list_names(text));
    let lists: Vec<Vec<String>> = table.files.iter().map(|file| listed(file).unwrap_or_default()).collect();
    if lists.windows(2).all(|pair| pair[0] == pair[1]) {
        let first = table.files.first().and_then(|file| file.reader.metadata().get("sources"));
        first.map(|names| table.schema.metadata.insert("sources".into(), names.clone()));
        return Ok(());
    }
    let mut names = Names::default();
    for name in lists.iter().flatten().filter(|name| !name.is_empty()) {
        names.number(name);
    }
    for (file, list) in table.files.iter_mut().zip(&lists) {
        let used = used_sources(file, place)?;
        let called = |number: usize| {
            let name = list.get(number).filter(|name| !name.is_empty());
            name.cloned().unwrap_or_else(|| number.to_string())
        };
        let numbers: Vec<usize> =
            (0..used.len()).map(|at| if used[at] { names.number(&called(at)) } else { 0 }).collect();
        if names.list.len() > MAX_SOURCES {
            let problem = format!("makes more than {MAX_SOURCES} different sources; give fewer files at a time");
            return Err(Error::data(file.reader.path(), problem));
        }
        file.columns[place].relabel = Relabel::Lookup(numbers.into_iter().map(|number| number as u16).collect());
    }
    let column = &mut table.schema.columns[place];
    // 65,536 sources fit u16.
    column.dtype = stored_integers::widened(column.dtype, &(0..=names.list.len() as i128 - 1)).unwrap_or(Dtype::U16);
    table.schema.metadata.insert("sources".into(), serde_json::json!(names.list).to_string());
    let count = names.list.len();
    table.notes.push(format!("sources are numbered anew: the files' lists differ, and together name {count}"));
    Ok(())
}

/// Names in the order in which they came.
#[derive(Default)]
struct Names {
    list: Vec<String>,
    places: HashMap<String, usize>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        self.places.insert(name.to_owned(), self.list.len());
        self.list.push(name.to_owned());
        self.list.len() - 1
    }
}

/// Which numbers a file has as sources.
fn used_sources(file: &TableFile<'_>, place: usize) -> Result<Vec<bool>> {
    let mut used = vec![false; MAX_SOURCES];
    scan(file, place, |row, value| match usize::try_from(value).ok().and_then(|value| used.get_mut(value)) {
        Some(used) => {
            *used = true;
            Ok(())
        }
        None => {
            let problem = format!("column `source`, row {row} is {value}; it must be 0 to {}", MAX_SOURCES - 1);
            Err(Error::data(file.reader.path(), problem))
        }
    })?;
    Ok(used)
}

/// What is added to the sequences of each file where several number different ones alike: 0 where files lack them.
///
/// # Errors
/// As [`separate_sequences`], and [`Error::Io`].
pub(in crate::data) fn sequence_offsets(data: &Activations) -> Result<Vec<i128>> {
    if data.row_counts().count() == 1 {
        return Ok(vec![0]);
    }
    let table = Table::new(data, Agreement::Sought)?;
    let place = table.column("sequence");
    let mut files = table.files.iter().map(|file| match place.map(|place| &file.columns[place].relabel) {
        Some(Relabel::Add(offset)) => *offset,
        _ => 0,
    });
    // The table leaves out files without rows.
    Ok(data.row_counts().map(|(_, rows)| if rows == 0 { 0 } else { files.next().unwrap_or(0) }).collect())
}

/// The sequences of files, as far as they tell whether two files number the same ones.
struct Sequences {
    values: RangeInclusive<i128>,
    first: Place,
    last: Place,
    /// Of a file of a set that was written at once, the same in all its files.
    set: Option<String>,
}

/// Where a row stands.
#[derive(Clone, Copy, PartialEq)]
struct Place {
    sequence: i128,
    position: Option<i128>,
}

/// Adds to the sequences of files that number them alike, so that a sequence and a position still name one row.
pub(super) fn separate_sequences(table: &mut Table<'_>) -> Result<()> {
    let Some(place) = integer_column(table, "sequence").filter(|_| table.files.len() > 1) else { return Ok(()) };
    let position = integer_column(table, "position");
    let files: Vec<Sequences> =
        table.files.iter().map(|file| sequences(file, place, position)).collect::<Result<_>>()?;
    let groups = grouped(&files);
    let mut ranges: Vec<&RangeInclusive<i128>> = groups.iter().map(|(range, _)| range).collect();
    ranges.sort_by_key(|range| *range.start());
    if ranges.windows(2).all(|pair| pair[1].start() > pair[0].end()) {
        return Ok(());
    }
    let (mut next, mut least) = (None, 0);
    for (range, members) in &groups {
        let offset = next.map_or(0, |next| next - range.start());
        for &member in members {
            table.files[member].columns[place].relabel = Relabel::Add(offset);
        }
        least = least.min(range.start() + offset);
        next = Some(range.end() + offset + 1);
    }
    let most = next.map_or(0, |next| next - 1);
    let column = &mut table.schema.columns[place];
    let Some(dtype) = stored_integers::widened(column.dtype, &(least..=most)) else {
        let problem = format!("column `sequence`: numbered on through all files it would reach {most}, beyond 64 bits");
        return Err(Error::data(table.files[0].reader.path(), problem));
    };
    column.dtype = dtype;
    let count = groups.len();
    table.notes.push(format!(
        "`sequence` is numbered on from file to file: {count} files or sets of files use the same numbers"
    ));
    Ok(())
}

fn sequences(file: &TableFile<'_>, place: usize, position: Option<usize>) -> Result<Sequences> {
    let (mut least, mut most) = (i128::MAX, i128::MIN);
    scan(file, place, |_, value| {
        (least, most) = (least.min(value), most.max(value));
        Ok(())
    })?;
    let at = |row: u64| {
        let value = |place: usize| {
            let column = &file.columns[place];
            let mut bytes = vec![0; column.row_bytes];
            file.reader.read_column(column.place, row, &mut bytes)?;
            Ok::<_, Error>(stored_integers::decode(column.dtype, &bytes))
        };
        Ok::<_, Error>(Place { sequence: value(place)?, position: position.map(value).transpose()? })
    };
    let set = file.reader.metadata().get("shuffle_checksum").cloned();
    Ok(Sequences { values: least..=most, first: at(0)?, last: at(file.reader.rows() - 1)?, set })
}

/// Files whose sequences have one numbering, in order of their first: those of one shuffled set, and those of which one
/// goes on where the one before ends. With the range of their sequences.
fn grouped(files: &[Sequences]) -> Vec<(RangeInclusive<i128>, Vec<usize>)> {
    let mut groups: Vec<(RangeInclusive<i128>, Vec<usize>)> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let is_of_set = |member: &usize| file.set.is_some() && files[*member].set == file.set;
        let goes_on = |member: &usize| *member + 1 == at && continues(&files[*member].last, &file.first);
        let of = groups.iter().position(|(_, members)| members.iter().any(|m| is_of_set(m) || goes_on(m)));
        match of {
            Some(of) => {
                let (range, members) = &mut groups[of];
                *range = *range.start().min(file.values.start())..=*range.end().max(file.values.end());
                members.push(at);
            }
            None => groups.push((file.values.clone(), vec![at])),
        }
    }
    groups
}

/// Whether a row is the next one of the same sequence.
fn continues(last: &Place, next: &Place) -> bool {
    let follows = last.position.zip(next.position).is_some_and(|(last, next)| next == last + 1);
    last.sequence == next.sequence && follows
}

#[cfg(test)]
mod tests;
