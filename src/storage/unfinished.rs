//! The hidden names of what is not whole yet, and the removal of what processes that were killed left under such names.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::Path;

use super::parent;

/// The end of every name of something unfinished.
pub(super) const SUFFIX: &str = ".monosem.tmp";

/// The beginning of the names of what will be `path`.
pub(super) fn prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

/// Locks an unfinished file or directory for as long as `file` is open; false if another process took it for abandoned
/// just before.
pub(super) fn claim(file: &File, path: &Path) -> bool {
    // Some file systems have no locks: there nothing is ever removed.
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && fs::symlink_metadata(path).is_ok()
}

/// Removes what was to become `path` and that no process writes any more. What cannot be removed stays: it is hidden.
pub(super) fn remove_abandoned(path: &Path) {
    let prefix = prefix(path);
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if !name.starts_with(prefix.as_encoded_bytes()) || !name.ends_with(SUFFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        // Held until it is gone. Some systems lock only what may be written, and no directory may.
        let opened = File::options().read(true).write(true).open(&path).or_else(|_| File::open(&path));
        let Ok(file) = opened else { continue };
        if file.try_lock().is_ok() {
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}
