//! Integers that stand beside the rows: what each row is of.

use super::Activations;
use super::integers::is_integer;
use super::reader::Reader;
use crate::error::Result;
use crate::storage::Dtype;
use crate::storage::tensor_file::CHUNK_BYTES;

/// The tensors that may stand beside the rows, `[rows]` each.
const NAMES: [&str; 4] = ["token_ids", "source", "sequence", "position"];

/// One of these tensors, which every file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLabel {
    /// Its name.
    pub name: &'static str,
    /// Its type in every file.
    pub dtype: Dtype,
}

/// The integers beside the rows of some activations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowLabels {
    /// Those that every file has in one type, one integer for each row.
    pub shared: Vec<RowLabel>,
    /// Names of those that some files have, but not all of them in one form: `source` too if its names differ.
    pub partial: Vec<&'static str>,
    /// The metadata `sources` of every file, if `source` is shared and has names.
    pub sources: Option<String>,
}

impl RowLabels {
    /// Looks into every file.
    pub fn of(data: &Activations) -> Self {
        let mut labels = Self::default();
        let files: Vec<&dyn Reader> = data.readers().map(|(file, _)| file).collect();
        let sources = || files.iter().map(|file| file.metadata().get("sources"));
        for name in NAMES {
            let mut types = files.iter().map(|file| integers(*file, name).map(|(_, dtype)| dtype));
            // There is at least one file.
            let first = types.next().flatten();
            let named_alike = name != "source" || sources().all(|names| Some(names) == sources().next());
            match first.filter(|_| types.all(|dtype| dtype == first) && named_alike) {
                Some(dtype) => labels.shared.push(RowLabel { name, dtype }),
                None if files.iter().any(|file| has(*file, name)) => labels.partial.push(name),
                None => {}
            }
        }
        if labels.shared.iter().any(|label| label.name == "source") {
            labels.sources = sources().next().flatten().cloned();
        }
        labels
    }

    /// Gives the integers of a shared label as they are stored, those of all rows in order and in pieces.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Data`] when a file has become shorter, and those of `take`.
    pub fn read(data: &Activations, label: RowLabel, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for (file, _) in data.readers() {
            let Some((column, dtype)) = integers(file, label.name) else { continue };
            let most = CHUNK_BYTES / dtype.bytes();
            let mut piece = vec![0; most * dtype.bytes()];
            for first in (0..file.rows()).step_by(most) {
                let bytes = (file.rows() - first).min(most as u64) as usize * dtype.bytes();
                file.read_column(column, first, &mut piece[..bytes])?;
                take(&piece[..bytes])?;
            }
        }
        Ok(())
    }
}

fn has(file: &dyn Reader, name: &str) -> bool {
    file.columns().iter().any(|column| column.name == name)
}

/// The place and type of a column of one integer for each row.
pub(super) fn integers(file: &dyn Reader, name: &str) -> Option<(usize, Dtype)> {
    let place = file.columns().iter().position(|column| column.name == name)?;
    let column = &file.columns()[place];
    let is_beside_rows = matches!(column.shape[..], [count] if count as u64 == file.rows());
    let dtype = column.dtype.filter(|&dtype| is_beside_rows && is_integer(dtype))?;
    Some((place, dtype))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use safetensors::Dtype as Stored;

    use super::*;
    use crate::storage::fixtures::{Tensor, write};

    /// A file of `rows` rows; a label is (name, type, bytes per integer).
    fn file(
        directory: &tempfile::TempDir,
        rows: usize,
        labels: &[(&str, Stored, usize)],
        sources: Option<&str>,
    ) -> PathBuf {
        let path = tempfile::Builder::new().tempfile_in(directory).unwrap().keep().unwrap().1;
        let (shape, column) = ([rows, 1], [rows]);
        let mut tensors = vec![Tensor::f32("activations", &shape, &vec![1.0; rows])];
        for &(name, dtype, size) in labels {
            tensors.push(Tensor::new(name, dtype, &column, (0..rows * size).map(|at| at as u8).collect()));
        }
        write(&path, &tensors, &sources.map(|names| ("sources", names)).into_iter().collect::<Vec<_>>());
        path
    }

    #[test]
    fn what_all_files_have_alike_is_shared() {
        let directory = tempfile::tempdir().unwrap();
        let [tokens, sequence] = [("token_ids", Stored::I32, 4), ("sequence", Stored::I64, 8)];
        let (bytes, floats) = (("source", Stored::U8, 1), ("position", Stored::F32, 4));
        let first = file(&directory, 3, &[tokens, sequence, bytes, floats], Some("a,b"));
        let alike = file(&directory, 5, &[tokens, sequence, bytes], Some("a,b"));
        let renamed = file(&directory, 5, &[tokens, ("sequence", Stored::U32, 4), bytes], Some("b,a"));
        let bare = file(&directory, 2, &[], None);
        let labels = |paths: &[&PathBuf]| {
            let paths: Vec<_> = paths.iter().map(|path| (*path).clone()).collect();
            let data = Activations::open(&paths).unwrap();
            let labels = RowLabels::of(&data);
            let names: Vec<_> = labels.shared.iter().map(|label| label.name).collect();
            (names, labels.partial, labels.sources)
        };
        let sources = Some("a,b".to_owned());
        let shared = vec!["token_ids", "source", "sequence"];
        assert_eq!(labels(&[&first]), (shared.clone(), vec!["position"], sources.clone()));
        assert_eq!(labels(&[&alike]), (shared.clone(), vec![], sources.clone()));
        assert_eq!(labels(&[&first, &alike]), (shared, vec!["position"], sources));
        assert_eq!(labels(&[&alike, &renamed]), (vec!["token_ids"], vec!["source", "sequence"], None));
        assert_eq!(labels(&[&bare, &alike]), (vec![], vec!["token_ids", "source", "sequence"], None));
        assert_eq!(labels(&[&bare]), (vec![], vec![], None));

        let data = Activations::open(&[first, alike]).unwrap();
        let mut read = Vec::new();
        let label = RowLabel { name: "token_ids", dtype: Dtype::I32 };
        RowLabels::read(&data, label, |piece| {
            read.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        assert_eq!(read, (0..12).chain(0..20).collect::<Vec<u8>>());
    }
}
