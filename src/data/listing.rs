//! The files that paths name.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// Names of activation files end with one of these; of a directory that has several kinds, the first is taken.
const EXTENSIONS: [&str; 4] = ["safetensors", "arrow", "npy", "parquet"];

/// What Hugging Face `datasets` lists the files of a saved data set in.
const STATE: &str = "state.json";

/// More than any list of files needs.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// The files among `paths`, those of directories among them by name, and those that an index lists. A file that comes
/// twice stays, with a warning.
///
/// # Errors
/// [`Error::Io`], and [`Error::Data`] for a directory without such files, and for a damaged list.
pub(super) fn list(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if fs::metadata(path).map_err(Error::io(path))?.is_dir() {
            files.extend(list_directory(path)?);
        } else if path.as_os_str().as_encoded_bytes().ends_with(b".index.json") {
            files.extend(list_index(path)?);
        } else {
            files.push(path.clone());
        }
    }
    warn_of_repeated(&files);
    Ok(files)
}

fn list_directory(directory: &Path) -> Result<Vec<PathBuf>> {
    let state = directory.join(STATE);
    if state.is_file() {
        return list_state(&state);
    }
    let found = files_in(directory)?;
    match EXTENSIONS.iter().find_map(|kind| of_kind(&found, kind)) {
        Some(files) => Ok(files),
        None => Err(Error::data(directory, without_files(directory))),
    }
}

/// The files of a saved data set, in its order.
fn list_state(path: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct State {
        #[serde(rename = "_data_files")]
        files: Vec<DataFile>,
    }
    #[derive(Deserialize)]
    struct DataFile {
        filename: PathBuf,
    }
    let State { files } = read_list(path)?;
    files.into_iter().map(|file| beside(path, &file.filename)).collect()
}

/// The files of an index of safetensors files, by name, each once.
fn list_index(path: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, PathBuf>,
    }
    let Index { weight_map } = read_list(path)?;
    let mut names: Vec<PathBuf> = weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(Error::data(path, "lists no file; write the index again, or give the files"));
    }
    names.iter().map(|name| beside(path, name)).collect()
}

fn read_list<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_LIST_BYTES).read_to_end(&mut text)).map_err(Error::io(path))?;
    serde_json::from_slice(&text).map_err(|error| {
        let error = error.to_string();
        Error::data(path, format!("lists no files that can be read ({}); give the files", error.escape_debug()))
    })
}

/// The file `name` in the directory of the list that names it.
fn beside(list: &Path, name: &Path) -> Result<PathBuf> {
    match name.components().collect::<Vec<_>>()[..] {
        [Component::Normal(_)] => Ok(list.with_file_name(name)),
        _ => {
            let name = name.to_string_lossy();
            let problem = format!("lists {:?}, which is no file beside it; give the files themselves", &*name);
            Err(Error::data(list, problem))
        }
    }
}

/// The files with such names in a directory, but hidden ones.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io(directory))? {
        let entry = entry.map_err(Error::io(directory))?.path();
        let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let known = entry.extension().is_some_and(|extension| EXTENSIONS.iter().any(|kind| extension == *kind));
        if !hidden && known {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

/// The files of one kind, if there are some.
fn of_kind(files: &[PathBuf], kind: &str) -> Option<Vec<PathBuf>> {
    let files: Vec<_> = files.iter().filter(|file| file.extension() == Some(OsStr::new(kind))).cloned().collect();
    (!files.is_empty()).then_some(files)
}

/// What is wrong with a directory without files, and which to give instead.
fn without_files(directory: &Path) -> String {
    // What cannot be read has nothing to propose.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut deeper: Vec<_> = entries.filter(|path| files_in(path).is_ok_and(|files| !files.is_empty())).collect();
    deeper.sort();
    let kinds = EXTENSIONS.map(|kind| format!("*.{kind}")).join(", ");
    match deeper.first() {
        Some(deeper) => {
            let deeper = deeper.to_string_lossy();
            let deeper = deeper.escape_debug();
            format!("has no file of {kinds} in it, and is not searched deeper; give e.g. {deeper}, which has some")
        }
        None => format!("has no file of {kinds} in it; give a directory of activations"),
    }
}

fn warn_of_repeated(files: &[PathBuf]) {
    let mut known = HashSet::new();
    for file in files {
        // One that cannot be resolved cannot be opened either.
        if fs::canonicalize(file).is_ok_and(|resolved| !known.insert(resolved)) {
            log::warn!(
                "{}: is given more than once, and its rows count as often",
                file.to_string_lossy().escape_debug()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_one_level_up_name_one_that_has_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let message = || list(&[dir.path().into()]).unwrap_err().to_string();
        for name in ["b", "a\n", "empty"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("a.bin"), "").unwrap();
        let kinds = "has no file of *.safetensors, *.arrow, *.npy, *.parquet in it";
        assert!(message().ends_with(&format!("{kinds}; give a directory of activations")));
        for name in ["b/x.safetensors", "a\n/x.npy", "empty/.x.safetensors"] {
            fs::write(path(name), "").unwrap();
        }
        let message = message();
        assert!(message.contains(&format!("{kinds}, and is not searched deeper; give e.g. ")), "{message}");
        assert!(message.ends_with("/a\\n, which has some"), "{message}");
        assert_eq!(list(&[path("b"), path("a.bin")]).unwrap(), [path("b/x.safetensors"), path("a.bin")]);
    }

    #[test]
    fn a_directory_is_of_one_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["b.npy", "a.npy", "labels.parquet"] {
            fs::write(path(name), "").unwrap();
        }
        assert_eq!(list(&[dir.path().into()]).unwrap(), [path("a.npy"), path("b.npy")]);
        fs::write(path("z.safetensors"), "").unwrap();
        assert_eq!(list(&[dir.path().into()]).unwrap(), [path("z.safetensors")]);
    }

    #[test]
    fn lists_are_followed_in_their_order_and_only_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let index = path("x.safetensors.index.json");
        let with = |index: &Path, text: &str| {
            fs::write(index, text).unwrap();
            let given = if index.ends_with(STATE) { dir.path() } else { index };
            list(&[given.into()]).map_err(|error| error.to_string())
        };
        let weights = r#"{"metadata": {}, "weight_map": {"a": "2", "b": "1", "c": "2"}}"#;
        assert_eq!(with(&index, weights).unwrap(), [path("1"), path("2")]);
        for (text, expected) in [
            (r#"{"weight_map": {"a": "../1"}}"#, "lists \"../1\", which is no file beside it"),
            (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "which is no file beside it"),
            (r#"{"weight_map": {"a": ""}}"#, "which is no file beside it"),
            (r#"{"weight_map": {}}"#, "lists no file; write the index again"),
            ("{", "lists no files that can be read (EOF while parsing an object"),
        ] {
            let message = with(&index, text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let state = r#"{"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}], "_split": null}"#;
        assert_eq!(with(&path(STATE), state).unwrap(), [path("b.arrow"), path("a.arrow")]);
        assert!(with(&path(STATE), "{}").unwrap_err().contains("missing field `_data_files`"));
    }
}
