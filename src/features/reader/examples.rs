//! The lines of examples-*.jsonl, in the order of the features.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use serde::Deserialize;

use super::{FeatureSet, invalid};
use crate::error::{Error, Result};
use crate::features::set::examples_file;

/// A longer line is taken for damage.
const MAX_LINE_BYTES: u64 = 1 << 30;

/// What a feature is active on.
#[derive(Debug, Deserialize)]
pub(in crate::features) struct FeatureLine {
    pub feature: usize,
    #[serde(default)]
    pub top_tokens: Vec<TopToken>,
    #[serde(default)]
    pub examples: Vec<Example>,
}

/// A token that a feature is active on.
#[derive(Debug, Deserialize)]
pub(in crate::features) struct TopToken {
    #[serde(default)]
    pub token: Option<i64>,
    #[serde(default)]
    pub text: Option<String>,
    pub count: u64,
    pub mean: f32,
}

/// A row that a feature is active on, and the tokens around it.
#[derive(Debug, Deserialize)]
pub(in crate::features) struct Example {
    pub interval: u64,
    pub activation: f32,
    #[serde(default)]
    pub row: Option<u64>,
    #[serde(default)]
    pub sequence: Option<i64>,
    #[serde(default)]
    pub position: Option<i64>,
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub tokens: Option<Vec<i64>>,
    #[serde(default)]
    pub text: Option<Vec<String>>,
    #[serde(default)]
    pub activations: Option<Vec<f32>>,
    #[serde(default)]
    pub focus: usize,
    #[serde(default)]
    pub missing_before: u64,
    #[serde(default)]
    pub missing_after: u64,
}

/// The text of a token, or its number where the data have no text.
pub(in crate::features) fn token_text(text: Option<&str>, token: Option<i64>) -> String {
    match (text, token) {
        (Some(text), _) => text.to_owned(),
        (None, Some(token)) => format!("#{token}"),
        (None, None) => String::new(),
    }
}

/// Reads one line at a time.
pub(in crate::features) struct ExampleLines {
    directory: PathBuf,
    file: usize,
    reader: Option<BufReader<File>>,
    line: Vec<u8>,
}

impl ExampleLines {
    /// From the first feature on.
    pub fn open(set: &FeatureSet) -> Self {
        Self { directory: set.directory.clone(), file: 0, reader: None, line: Vec::new() }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(examples_file(self.file))
    }

    /// The line of `feature`, the next one.
    ///
    /// # Errors
    /// [`Error::Data`] when it is damaged or of another feature, [`Error::Io`].
    pub fn next(&mut self, feature: usize) -> Result<FeatureLine> {
        self.read_line()?;
        let path = self.path();
        let line: FeatureLine = serde_json::from_slice(&self.line).map_err(|error| invalid(&path, &error))?;
        if line.feature != feature {
            let problem = format!("has feature {} where {feature} belongs; write the set again", line.feature);
            return Err(Error::data(path, problem));
        }
        match line.fault() {
            Some(fault) => Err(Error::data(path, format!("feature {feature}: {fault}; write the set again"))),
            None => Ok(line),
        }
    }

    fn read_line(&mut self) -> Result<()> {
        loop {
            let path = self.path();
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => none.insert(BufReader::new(File::open(&path).map_err(Error::io(&path))?)),
            };
            self.line.clear();
            let read = reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line).map_err(Error::io(&path))?;
            if read as u64 == MAX_LINE_BYTES {
                return Err(Error::data(path, "has a line of more than 1 GiB; write the set again"));
            }
            if read > 0 {
                return Ok(());
            }
            self.reader = None;
            self.file += 1;
        }
    }
}

impl FeatureLine {
    fn fault(&self) -> Option<&'static str> {
        self.examples.iter().find_map(Example::fault)
    }
}

impl Example {
    /// Lists beside one another must be of one length.
    fn fault(&self) -> Option<&'static str> {
        let lengths = [
            self.tokens.as_ref().map(Vec::len),
            self.text.as_ref().map(Vec::len),
            self.activations.as_ref().map(Vec::len),
        ];
        let mut lengths = lengths.into_iter().flatten();
        let first = lengths.next()?;
        if lengths.any(|length| length != first) {
            return Some("an example's tokens, text and activations differ in length");
        }
        (self.focus >= first).then_some("an example's focus lies outside of its tokens")
    }
}
