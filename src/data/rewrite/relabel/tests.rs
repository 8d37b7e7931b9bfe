use std::path::PathBuf;

use safetensors::Dtype as Stored;
use tempfile::TempDir;

use super::super::agreement::Agreement;
use super::super::blocks::for_each_block;
use super::*;
use crate::data::Activations;
use crate::storage::fixtures::{Tensor, write};

/// A column of u8 or i32 numbers.
type Labels<'a> = (&'a str, Stored, &'a [i32]);

fn file(directory: &TempDir, labels: &[Labels<'_>], metadata: &[(&str, &str)]) -> PathBuf {
    let path = tempfile::Builder::new().tempfile_in(directory).unwrap().keep().unwrap().1;
    let rows = labels[0].2.len();
    let (shape, column) = ([rows, 1], [rows]);
    let mut tensors = vec![Tensor::f32("activations", &shape, &vec![1.0; rows])];
    for (name, dtype, numbers) in labels {
        let bytes = match dtype {
            Stored::U8 => numbers.iter().map(|&number| number as u8).collect(),
            _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        };
        tensors.push(Tensor::new(name, *dtype, &column, bytes));
    }
    write(&path, &tensors, metadata);
    path
}

fn sources(directory: &TempDir, numbers: &[i32], names: Option<&str>) -> PathBuf {
    let metadata: Vec<_> = names.map(|names| ("sources", names)).into_iter().collect();
    file(directory, &[("source", Stored::U8, numbers)], &metadata)
}

/// What becomes of a column: its type, its values, and the notes and metadata of the table.
fn read(paths: &[PathBuf], name: &str) -> (Dtype, Vec<i128>, Vec<String>, Option<String>) {
    let data = Activations::open(paths).unwrap();
    let table = Table::new(&data, Agreement::Required).unwrap();
    let place = table.column(name).unwrap();
    let dtype = table.schema.columns[place].dtype;
    let mut values = Vec::new();
    for_each_block(&table, 0, 8, |block| {
        let bytes = block.columns[place].chunks_exact(dtype.bytes());
        values.extend(bytes.map(|bytes| stored_integers::decode(dtype, bytes)));
        Ok(true)
    })
    .unwrap();
    (dtype, values, table.notes, table.schema.metadata.get("sources").cloned())
}

#[test]
fn sources_of_one_list_stay() {
    let directory = tempfile::tempdir().unwrap();
    let files = [&[0, 1][..], &[1, 9]].map(|numbers| sources(&directory, numbers, Some("books, code")));
    let names = Some("books, code".to_owned());
    assert_eq!(read(&files, "source"), (Dtype::U8, vec![0, 1, 1, 9], vec![], names));
    let files = [&[0, 1][..], &[1, 9]].map(|numbers| sources(&directory, numbers, None));
    assert_eq!(read(&files, "source"), (Dtype::U8, vec![0, 1, 1, 9], vec![], None));
}

#[test]
fn sources_of_several_lists_keep_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        sources(&directory, &[0, 1, 7], Some("books, code")),
        // "7" is the number 7, and an empty name is none.
        sources(&directory, &[0, 1, 2, 3], Some(r#"["code", "", "7", "a, b"]"#)),
        sources(&directory, &[1, 7], None),
    ];
    let (dtype, values, notes, names) = read(&files, "source");
    let names: Vec<String> = serde_json::from_str(&names.unwrap()).unwrap();
    let named: Vec<&str> = values.iter().map(|&value| names[value as usize].as_str()).collect();
    assert_eq!(named, ["books", "code", "7", "code", "1", "7", "a, b", "1", "7"]);
    assert_eq!((dtype, notes.len()), (Dtype::U8, 1));
    assert!(notes[0].contains("together name 5"), "{notes:?}");
}

#[test]
fn sources_that_are_too_many_for_their_type_get_another() {
    let directory = tempfile::tempdir().unwrap();
    let name = |file: usize| move |number: usize| format!("{file}-{number}");
    let files = [0, 1].map(|at| {
        let names: Vec<String> = (0..200).map(name(at)).collect();
        sources(&directory, &(0..200).collect::<Vec<_>>(), Some(&serde_json::json!(names).to_string()))
    });
    let (dtype, values, ..) = read(&files, "source");
    assert_eq!((dtype, values), (Dtype::U16, (0..400).collect()));

    let bad = [
        file(&directory, &[("source", Stored::I32, &[0, -1])], &[("sources", "x")]),
        file(&directory, &[("source", Stored::I32, &[0])], &[]),
    ];
    let data = Activations::open(&bad).unwrap();
    let message = Table::new(&data, Agreement::Required).unwrap_err().to_string();
    assert!(message.contains("column `source`, row 1 is -1; it must be 0 to 65535"), "{message}");
}

/// Sequences, and positions in them.
fn contexts(directory: &TempDir, sequence: &[i32], position: &[i32], set: Option<&str>) -> PathBuf {
    let labels = [("sequence", Stored::I32, sequence), ("position", Stored::I32, position)];
    file(directory, &labels, &set.map(|set| ("shuffle_checksum", set)).into_iter().collect::<Vec<_>>())
}

#[test]
fn sequences_of_files_with_numbers_of_their_own_stay() {
    let directory = tempfile::tempdir().unwrap();
    // The second goes on with the context that the first ends in.
    let files = [
        contexts(&directory, &[0, 0, 1], &[0, 1, 0], None),
        contexts(&directory, &[1, 2], &[1, 0], None),
        contexts(&directory, &[-5, -5], &[0, 1], None),
    ];
    let (dtype, values, notes, _) = read(&files, "sequence");
    assert_eq!((dtype, values, notes), (Dtype::I32, vec![0, 0, 1, 1, 2, -5, -5], vec![]));
    // Files of one set that was shuffled.
    let set = [(&[3, 0, 1], "a"), (&[1, 0, 3], "a")]
        .map(|(sequence, set)| contexts(&directory, sequence, &[0, 1, 2], Some(set)));
    assert_eq!(read(&set, "sequence").1, [3, 0, 1, 1, 0, 3]);
}

#[test]
fn sequences_of_files_with_the_same_numbers_are_numbered_on() {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        contexts(&directory, &[3, 3, 4], &[0, 1, 0], None),
        contexts(&directory, &[0, 1], &[0, 0], None),
        // It begins with the sequence that the one before ends with, and not with its next position.
        contexts(&directory, &[1, 2], &[0, 1], None),
    ];
    let (dtype, values, notes, _) = read(&files, "sequence");
    assert_eq!((dtype, values), (Dtype::I32, vec![3, 3, 4, 5, 6, 7, 8]));
    assert!(notes.len() == 1 && notes[0].contains("3 files"), "{notes:?}");

    let large = [contexts(&directory, &[0, i32::MAX], &[0, 0], None), contexts(&directory, &[0, 1], &[0, 0], None)];
    let (dtype, values, ..) = read(&large, "sequence");
    let most = i128::from(i32::MAX);
    assert_eq!((dtype, values), (Dtype::U32, vec![0, most, most + 1, most + 2]));
    let negative = [contexts(&directory, &[-1, i32::MAX], &[0, 0], None), contexts(&directory, &[0, 1], &[0, 0], None)];
    assert_eq!(read(&negative, "sequence").0, Dtype::I64);

    // Two sets that were shuffled, each of two files.
    let sets = [(&[3, 0], "a"), (&[2, 2], "a"), (&[0, 2], "b"), (&[2, 0], "b")]
        .map(|(sequence, set)| contexts(&directory, sequence, &[0, 1], Some(set)));
    assert_eq!(read(&sets, "sequence").1, [3, 0, 2, 2, 4, 6, 6, 4]);
}
