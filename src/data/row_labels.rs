//! Integers that stand beside the rows: what each row is of.

use super::Activations;
use crate::error::Result;
use crate::storage::Dtype;
use crate::storage::tensor_file::{CHUNK_BYTES, TensorFile};

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
        let files: Vec<_> = data.files().collect();
        let sources = || files.iter().map(|(file, _)| file.metadata("sources"));
        for name in NAMES {
            let mut types = files.iter().map(|(file, rows)| integers(file, name, rows.end - rows.start));
            // There is at least one file.
            let first = types.next().flatten();
            let named_alike = name != "source" || sources().all(|names| Some(names) == sources().next());
            match first.filter(|_| types.all(|dtype| dtype == first) && named_alike) {
                Some(dtype) => labels.shared.push(RowLabel { name, dtype }),
                None if files.iter().any(|(file, _)| file.place(name).is_some()) => labels.partial.push(name),
                None => {}
            }
        }
        if labels.shared.iter().any(|label| label.name == "source") {
            labels.sources = sources().next().flatten().map(str::to_owned);
        }
        labels
    }

    /// Gives the integers of a shared label as they are stored, those of all rows in order and in pieces.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Data`] when a file has become shorter, and those of `take`.
    pub fn read(data: &Activations, label: RowLabel, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for (file, _) in data.files() {
            let Some((_, _, place)) = file.place(label.name) else { continue };
            let mut piece = vec![0; CHUNK_BYTES];
            for start in place.clone().step_by(CHUNK_BYTES) {
                let length = (place.end - start).min(CHUNK_BYTES as u64) as usize;
                file.read_raw(label.name, start, &mut piece[..length])?;
                take(&piece[..length])?;
            }
        }
        Ok(())
    }
}

/// The type of a tensor of one integer for each of `rows` rows.
fn integers(file: &TensorFile, name: &str, rows: u64) -> Option<Dtype> {
    let (dtype, shape, _) = file.place(name)?;
    let is_integer = matches!(dtype, Dtype::U8 | Dtype::U16 | Dtype::I32 | Dtype::U32 | Dtype::I64);
    (is_integer && matches!(shape, [count] if *count as u64 == rows)).then_some(dtype)
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
