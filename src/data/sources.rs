//! Which text each row came from.

use std::collections::HashMap;
use std::sync::Arc;

use super::Activations;
use super::integers::IntegerColumn;
use crate::error::Result;

/// The sources of rows, by the optional tensor `source` of the files: `[rows]`, u8, u16, u32, i32 or i64, of values
/// from 0 to 65,535. A source is a place in the list `sources` of its file's metadata, or only a number. Sources of one
/// name are one source, whatever file they are in.
#[derive(Debug)]
pub struct Sources {
    data: Arc<Activations>,
    files: Vec<Option<FileSources>>,
    names: HashMap<u32, String>,
}

#[derive(Debug)]
struct FileSources {
    column: IntegerColumn,
    /// For each number that has a name in this file, the source.
    named: Vec<u32>,
}

/// Sources below are numbers without a name; from here on come the names.
const FIRST_NAMED: u32 = 1 << 16;

impl Sources {
    /// Finds the tensors; `None` if no file has one.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for a tensor `source` of another type or length.
    pub fn open(data: Arc<Activations>) -> Result<Option<Self>> {
        let mut names = HashMap::new();
        let mut files = Vec::new();
        for (file, _) in data.readers() {
            let column = IntegerColumn::find(file, "source", 0..=i32::from(u16::MAX))?;
            let listed = file.metadata().get("sources").map(|text| list_names(text)).unwrap_or_default();
            files.push(column.map(|column| {
                let named =
                    (0..FIRST_NAMED).zip(listed).map(|(number, name)| source(number, name, &mut names)).collect();
                FileSources { column, named }
            }));
        }
        let some = files.iter().any(Option::is_some);
        let names = names.into_iter().map(|(name, source)| (source, name)).collect();
        Ok(some.then_some(Self { data, files, names }))
    }

    /// The source of each of `rows`; `None` where its file has no tensor `source`.
    ///
    /// # Panics
    /// When a row does not exist.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), or [`Error::Data`](crate::Error::Data) for a value that is no source,
    /// and when a file has become shorter.
    pub fn of(&self, rows: &[u64]) -> Result<Vec<Option<u32>>> {
        let files: Vec<_> = self.data.readers().collect();
        let mut sources = Vec::with_capacity(rows.len());
        let mut numbers = Vec::new();
        for run in rows.chunk_by(|&row, &next| next == row + 1 && self.data.file_of(row) == self.data.file_of(next)) {
            let at = self.data.file_of(run[0]);
            let (file, held) = &files[at];
            let Some(FileSources { column, named }) = &self.files[at] else {
                sources.extend(run.iter().map(|_| None));
                continue;
            };
            numbers.resize(run.len(), 0);
            column.read(*file, run[0] - held.start, &mut numbers)?;
            // None is negative.
            let source = |number: u32| named.get(number as usize).copied().unwrap_or(number);
            sources.extend(numbers.iter().map(|&number| Some(source(number as u32))));
        }
        Ok(sources)
    }

    /// What a source is called.
    pub fn name(&self, source: u32) -> String {
        self.names.get(&source).cloned().unwrap_or_else(|| source.to_string())
    }
}

/// The source that `number` is in a file that calls it `name`.
fn source(number: u32, name: String, names: &mut HashMap<String, u32>) -> u32 {
    if name.is_empty() {
        return number;
    }
    // A name that looks like a number is that number, so that no two sources are called the same.
    if let Some(number) = name.parse::<u16>().ok().filter(|number| number.to_string() == name) {
        return number.into();
    }
    let next = FIRST_NAMED + names.len() as u32;
    *names.entry(name).or_insert(next)
}

/// A JSON list of names, or names between commas.
pub(super) fn list_names(text: &str) -> Vec<String> {
    if let Ok(names) = serde_json::from_str(text) {
        return names;
    }
    if text.trim_start().starts_with(['[', '{']) {
        log::warn!("sources {text:?} is ignored: it is not a list of names");
        return Vec::new();
    }
    text.split(',').map(|name| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests;
