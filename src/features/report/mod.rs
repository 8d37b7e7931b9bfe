//! A set of features as pages for a browser: they open from disk, load what they show and nothing from a network.
//!
//! What a set says is data. It reaches the page as JSON within the string of a script (`script.rs`), and the page shows
//! it as text and never as markup.

mod chunks;
mod map;
mod overview;
mod script;
pub mod server;
mod tokens;

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::features::reader::examples::ExampleLines;
use crate::features::reader::{FeatureSet, TokenNames};
use crate::storage::staging::Staging;
use chunks::Chunk;
use overview::Overview;
use tokens::TokenIndex;

/// The page, file by file.
const PAGE: [(&str, &str); 14] = [
    ("index.html", include_str!("page/index.html")),
    ("icon.svg", include_str!("page/icon.svg")),
    ("page.css", include_str!("page/page.css")),
    ("text.js", include_str!("page/text.js")),
    ("store.js", include_str!("page/store.js")),
    ("charts.js", include_str!("page/charts.js")),
    ("points.js", include_str!("page/points.js")),
    ("scatter.js", include_str!("page/scatter.js")),
    ("map.js", include_str!("page/map.js")),
    ("find.js", include_str!("page/find.js")),
    ("list.js", include_str!("page/list.js")),
    ("passages.js", include_str!("page/passages.js")),
    ("feature.js", include_str!("page/feature.js")),
    ("main.js", include_str!("page/main.js")),
];

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Features.
    pub features: u64,
    /// Files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the files that a browser loads before it shows anything.
    pub overview_bytes: u64,
}

/// Writes the pages of the set in the directory `set` to the new directory `out`, which appears whole or not at all.
///
/// # Errors
/// [`Error::Data`] when the set is damaged or incomplete, [`Error::Exists`] when `out` exists, [`Error::Io`].
pub fn write(set: &Path, out: &Path) -> Result<Summary> {
    let set = FeatureSet::open(set)?;
    let staging = Staging::new(out)?;
    let mut files = Files { directory: staging.path(), summary: Summary::default() };
    for (name, text) in PAGE {
        files.write(name, text)?;
    }
    let names = TokenNames::find(&set)?;
    let mut overview = Overview::new(&set)?;
    let mut tokens = TokenIndex::default();
    let mut lines = ExampleLines::open(&set);
    for first in (0..set.features).step_by(chunks::FEATURES) {
        let range = first..set.features.min(first + chunks::FEATURES);
        let mut chunk = Chunk::new(&set, &names, range.clone())?;
        for feature in range {
            let line = lines.next(feature)?;
            overview.add(feature, &line);
            tokens.add(feature, &line);
            chunk.add(line);
        }
        files.write(&chunks::name(first), &chunk.script())?;
    }
    tokens.write(&mut files)?;
    files.write("data/overview.js", &overview.script(map::layout(&set)?.as_deref()))?;
    files.summary.features = set.features as u64;
    files.summary.overview_bytes = PAGE.iter().map(|(_, text)| text.len() as u64).sum::<u64>() + files.last_bytes()?;
    let summary = files.summary;
    staging.commit(out)?;
    Ok(summary)
}

/// The files of a report that is being written.
struct Files<'a> {
    directory: &'a Path,
    summary: Summary,
}

impl Files<'_> {
    fn write(&mut self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
        }
        fs::write(&path, text).map_err(Error::io(&path))?;
        self.summary.files += 1;
        self.summary.bytes += text.len() as u64;
        Ok(())
    }

    fn last_bytes(&self) -> Result<u64> {
        let path = self.directory.join("data/overview.js");
        Ok(fs::metadata(&path).map_err(Error::io(&path))?.len())
    }
}
