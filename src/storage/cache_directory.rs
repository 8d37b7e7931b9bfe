//! Where what is computed once is kept from one process to the next.

use std::env;
use std::path::PathBuf;

/// MONOSEM_CACHE_DIR, or `monosem` in the directory that the system gives a user's caches, if it gives one.
pub fn cache_directory() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = variable("MONOSEM_CACHE_DIR") {
        return Some(own);
    }
    let of_user = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_vendor = "apple") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        // A relative one is to be ignored, by the standard.
        let given = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        given.or_else(|| variable("HOME").map(|home| home.join(".cache")))
    };
    of_user.map(|directory| directory.join("monosem"))
}
