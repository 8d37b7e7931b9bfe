//! Texts of the tokens that logit weights name by number: found where the set's examples show them.

use std::collections::HashMap;

use crate::error::Result;
use crate::features::reader::FeatureSet;
use crate::features::reader::examples::ExampleLines;
use crate::storage::Dtype;

/// Rows of logit weights that are read at a time.
const ROWS: usize = 1 << 14;

/// Texts by token.
#[derive(Default)]
pub(super) struct TokenNames(HashMap<i64, Option<String>>);

impl TokenNames {
    /// Reads the examples for the tokens of the set's logit weights, if it has any.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when the set is damaged, [`crate::Error::Io`].
    pub fn find(set: &FeatureSet) -> Result<Self> {
        let mut names = Self(wanted(set)?);
        let mut unknown = names.0.len();
        let mut lines = ExampleLines::open(set);
        for feature in 0..set.features {
            if unknown == 0 {
                break;
            }
            let line = lines.next(feature)?;
            let pairs = line.examples.iter().filter_map(|example| example.tokens.as_ref().zip(example.text.as_ref()));
            for (tokens, texts) in pairs {
                for (token, text) in tokens.iter().zip(texts) {
                    if let Some(name @ None) = names.0.get_mut(token) {
                        *name = Some(text.clone());
                        unknown -= 1;
                    }
                }
            }
        }
        Ok(names)
    }

    /// The text of a token, where it is known.
    pub fn get(&self, token: i32) -> Option<&str> {
        self.0.get(&token.into())?.as_deref()
    }
}

fn wanted(set: &FeatureSet) -> Result<HashMap<i64, Option<String>>> {
    let mut wanted = HashMap::new();
    let Some(logits) = &set.logits else { return Ok(wanted) };
    for name in ["top_tokens", "bottom_tokens"] {
        let column = logits.column(name, Dtype::I32)?;
        for first in (0..set.features).step_by(ROWS) {
            let tokens: Vec<i32> = logits.rows(&column, first..set.features.min(first + ROWS))?;
            wanted.extend(tokens.into_iter().map(|token| (token.into(), None)));
        }
    }
    Ok(wanted)
}
