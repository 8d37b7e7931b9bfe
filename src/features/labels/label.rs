//! A label of a feature, and files of labels: a line of JSON each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::prompts::MOST_SPECIFIC;
use crate::error::{Error, Result};

/// The file of a set's labels.
pub(super) const LABELS: &str = "labels.jsonl";

/// Characters of a label and of the name of its source at most.
const MOST_CHARACTERS: [usize; 2] = [2000, 200];

/// Bytes of a line at most: labels, and ratings of every passage, are shorter.
const MOST_LINE_BYTES: u64 = 1 << 20;

/// A feature's label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Label {
    /// The feature.
    pub feature: u64,
    /// What it responds to.
    pub label: String,
    /// How well that describes it, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Who says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A line as a labeller writes it.
#[derive(Debug, Deserialize)]
struct Given {
    feature: u64,
    label: String,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    ratings: Option<Vec<u8>>,
    #[serde(default)]
    source: Option<String>,
}

/// The labels that the set in a directory has, by feature.
///
/// # Errors
/// [`Error::Data`] naming the line of a label that is none, [`Error::Io`].
pub(in crate::features) fn of_set(directory: &Path, features: u64) -> Result<BTreeMap<u64, Label>> {
    let path = directory.join(LABELS);
    if path.exists() { read(&path, features) } else { Ok(BTreeMap::new()) }
}

/// The labels in a file, by feature. A feature has one at most.
pub(super) fn read(path: &Path, features: u64) -> Result<BTreeMap<u64, Label>> {
    let mut reader = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let (mut labels, mut lines) = (BTreeMap::new(), BTreeMap::new());
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = reader.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut line).map_err(Error::io(path))?;
        if read == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let fault = |problem: String| Error::data(path, format!("line {number}: {problem}"));
        if read as u64 == MOST_LINE_BYTES {
            return Err(fault("has a MiB or more, which no label has".into()));
        }
        let label = Label::parse(&line, features).map_err(fault)?;
        if let Some(earlier) = lines.insert(label.feature, number) {
            return Err(fault(format!("feature {} was labelled in line {earlier} already", label.feature)));
        }
        labels.insert(label.feature, label);
    }
    Ok(labels)
}

impl Label {
    /// Parses a line for an SAE of so many features.
    fn parse(line: &[u8], features: u64) -> std::result::Result<Self, String> {
        let Given { feature, label, score, ratings, source } = serde_json::from_slice(line).map_err(|error| {
            let problem = error.to_string().escape_debug().to_string();
            format!("{problem}; a line is {{\"feature\": 12, \"label\": \"...\", \"score\": 0.9}}")
        })?;
        if feature >= features {
            return Err(format!("there is no feature {feature}: the set has {features}, from 0 on"));
        }
        if label.trim().is_empty() {
            return Err(format!("the label of feature {feature} is empty"));
        }
        let texts = [("label", Some(&label)), ("source", source.as_ref())];
        for ((what, text), most) in texts.into_iter().zip(MOST_CHARACTERS) {
            let count = text.map_or(0, |text| text.chars().count());
            if count > most {
                return Err(format!("the {what} of feature {feature} has {count} characters: at most {most} are kept"));
            }
        }
        let score = match (score, ratings) {
            (Some(_), Some(_)) => return Err(format!("feature {feature} has both a score and ratings: give one")),
            (Some(score), None) if !(0.0..=1.0).contains(&score) => {
                return Err(format!("the score of feature {feature} is {score}: it must be from 0 to 1"));
            }
            (score, None) => score,
            (None, Some(ratings)) if ratings.is_empty() => None,
            (None, Some(ratings)) => Some(mean_rating(feature, &ratings)?),
        };
        Ok(Self { feature, label, score, source })
    }
}

/// The mean as a share of the highest rating.
fn mean_rating(feature: u64, ratings: &[u8]) -> std::result::Result<f64, String> {
    if let Some(rating) = ratings.iter().find(|rating| **rating > MOST_SPECIFIC) {
        return Err(format!("a rating of feature {feature} is {rating}: they are from 0 to {MOST_SPECIFIC}"));
    }
    let sum: f64 = ratings.iter().map(|rating| f64::from(*rating)).sum();
    Ok(sum / ratings.len() as f64 / f64::from(MOST_SPECIFIC))
}
