//! The files that paths name.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The files among `paths` and the safetensors files of the directories among them, by name. A file that comes twice
/// stays, with a warning.
///
/// # Errors
/// [`Error::Io`], and [`Error::Data`] for a directory without such files.
pub(super) fn list(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !fs::metadata(path).map_err(Error::io(path))?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = files_in(path)?;
        if found.is_empty() {
            return Err(Error::data(path, without_files(path)));
        }
        found.sort();
        files.append(&mut found);
    }
    warn_of_repeated(&files);
    Ok(files)
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io(directory))? {
        let entry = entry.map_err(Error::io(directory))?.path();
        let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && entry.extension().is_some_and(|extension| extension == "safetensors") {
            found.push(entry);
        }
    }
    Ok(found)
}

/// What is wrong with a directory without files, and which to give instead.
fn without_files(directory: &Path) -> String {
    // What cannot be read has nothing to propose.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut deeper: Vec<_> = entries.filter(|path| files_in(path).is_ok_and(|files| !files.is_empty())).collect();
    deeper.sort();
    match deeper.first() {
        Some(deeper) => {
            let deeper = deeper.to_string_lossy();
            let deeper = deeper.escape_debug();
            format!("has no *.safetensors file in it, and is not searched deeper; give e.g. {deeper}, which has some")
        }
        None => "has no *.safetensors file in it; give a directory of activations".into(),
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
        fs::write(path("a.npy"), "").unwrap();
        assert!(message().ends_with("has no *.safetensors file in it; give a directory of activations"));
        for name in ["b/x.safetensors", "a\n/x.safetensors", "empty/.x.safetensors"] {
            fs::write(path(name), "").unwrap();
        }
        let message = message();
        assert!(message.contains("is not searched deeper; give e.g. "), "{message}");
        assert!(message.ends_with("/a\\n, which has some"), "{message}");
        assert_eq!(list(&[path("b"), path("a.npy")]).unwrap(), [path("b/x.safetensors"), path("a.npy")]);
    }
}
