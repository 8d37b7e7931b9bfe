//! A set of features as Neuronpedia imports it.
//!
//! Layout and fields are those that convert-saedashboard-to-neuronpedia-export.py writes and
//! apps/webapp/app/api/admin/import reads in <https://github.com/hijohnnylin/neuronpedia> at ebb8426; docs/features.md
//! says what is there of them.

mod batches;
mod destination;
mod lines;
mod records;
mod spread;

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::features::reader::examples::ExampleLines;
use crate::features::reader::{FeatureSet, Rows, TokenNames};
use crate::storage::staging::Staging;
use batches::Batches;
pub use destination::Destination;
use destination::Place;
use lines::Lines;

/// Features whose statistics are read at a time.
const FEATURES: usize = 1024;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The directory within the one that was created: model/source.
    pub source: String,
    /// Features.
    pub features: u64,
    /// Features without an example.
    pub without_examples: u64,
    /// Examples.
    pub activations: u64,
    /// Labels.
    pub explanations: u64,
    /// Files of each kind at most.
    pub batches: u64,
    /// What Neuronpedia shows and the set does not have, and why, in words.
    pub missing: Vec<&'static str>,
}

/// Writes the set in the directory `set` to the new directory `out`, which appears whole or not at all.
///
/// # Errors
/// [`Error::Data`] when the set is damaged, or has no example or no text; [`Error::Config`] for a name that cannot be
/// used, or that neither the destination nor the set says; [`Error::Exists`] when `out` exists, [`Error::Io`].
pub fn write(set: &Path, out: &Path, destination: &Destination) -> Result<Summary> {
    let set = FeatureSet::open(set)?;
    let place = Place::of(&set, destination)?;
    let staging = Staging::new(out)?;
    let source = Path::new(&place.model).join(&place.source);
    let directory = staging.path().join(&source);
    fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
    for (name, record) in records::of(&place) {
        write_record(&directory.join(name), &record)?;
    }
    let names = TokenNames::find(&set)?;
    let (mut batches, mut examples) = (Batches::new(&directory), ExampleLines::open(&set));
    let lines = Lines::new(&set, &place, &names);
    let mut summary = Summary { source: format!("{}/{}", place.model, place.source), ..Summary::default() };
    let mut longest = 0;
    for first in (0..set.features).step_by(FEATURES) {
        let range = first..set.features.min(first + FEATURES);
        let rows = Rows::read(&set, range.clone())?;
        for (row, feature) in range.enumerate() {
            let line = examples.next(feature)?;
            lines.write(&line, &rows, row, &mut batches)?;
            summary.features += 1;
            summary.without_examples += u64::from(line.examples.is_empty());
            summary.activations += line.examples.len() as u64;
            summary.explanations += u64::from(set.label(feature).is_some());
            longest = line.examples.iter().flat_map(|example| &example.text).map(Vec::len).fold(longest, usize::max);
        }
    }
    summary.batches = batches.finish()?;
    summary.missing = missing(&set, longest);
    if summary.activations == 0 {
        return Err(Error::data(&set.directory, "no feature has an example, so that there is nothing to show"));
    }
    staging.commit(out)?;
    Ok(summary)
}

/// What the set lacks, whose longest example has so many tokens.
fn missing(set: &FeatureSet, longest: usize) -> Vec<&'static str> {
    let reasons = [
        (set.logits.is_none(), "logits: the set has no logit weights (`monosem features --unembed`)"),
        (set.neighbors.is_none(), "similar features: the set has no neighbours"),
        (set.labels.is_empty(), "explanations: the set has no labels (`monosem label import`)"),
        (longest == 1, "contexts: each example is a single token"),
    ];
    reasons.into_iter().filter(|(is_missing, _)| *is_missing).map(|(_, reason)| reason).collect()
}

/// A file of one line.
fn write_record(path: &Path, record: &Value) -> Result<()> {
    fs::write(path, format!("{}\n", batches::json(path, record)?)).map_err(Error::io(path))
}
