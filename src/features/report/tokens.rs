//! Which features respond most to a token: a list of all tokens, and the features of each in files of their own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Files;
use super::script::{Shown, base64, call};
use crate::error::Result;
use crate::features::reader::examples::{FeatureLine, token_text};

/// Features listed in a file.
const LISTED: usize = 1 << 16;

/// The features of each token.
#[derive(Default)]
pub(super) struct TokenIndex {
    /// The token's place among the feature's top tokens, and the feature.
    features: BTreeMap<String, Vec<(u8, u32)>>,
}

#[derive(Serialize)]
struct TokenList {
    texts: Vec<Shown>,
    /// Features of each, u32; all are listed one after another.
    counts: String,
    listed_per_file: usize,
}

impl TokenIndex {
    /// Adds a feature's top tokens.
    pub fn add(&mut self, feature: usize, line: &FeatureLine) {
        for (place, top) in (0..=u8::MAX).zip(&line.top_tokens) {
            let text = token_text(top.text.as_deref(), top.token);
            self.features.entry(text).or_default().push((place, feature as u32));
        }
    }

    /// Writes all files.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn write(mut self, files: &mut Files) -> Result<()> {
        let mut listed = Vec::new();
        let mut counts = Vec::new();
        for features in self.features.values_mut() {
            features.sort_unstable();
            counts.push(features.len() as u32);
            listed.extend(features.iter().map(|&(_, feature)| feature));
        }
        for (number, features) in listed.chunks(LISTED).enumerate() {
            files.write(&format!("data/tokens/{number:05}.js"), &call("addListed", Some(number), &base64(features)))?;
        }
        let list = TokenList {
            texts: self.features.keys().map(|text| Shown::from(&**text)).collect(),
            counts: base64(&counts),
            listed_per_file: LISTED,
        };
        files.write("data/tokens.js", &call("addTokens", None, &list))
    }
}
