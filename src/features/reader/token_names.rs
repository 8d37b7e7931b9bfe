//! Texts of the tokens that logit weights name by number.

use std::collections::HashMap;

use super::FeatureSet;
use super::examples::ExampleLines;
use crate::error::Result;
use crate::features::token_texts::{logit_tokens, of_set};

/// Texts by token.
#[derive(Default)]
pub(in crate::features) struct TokenNames(HashMap<i64, Option<String>>);

impl TokenNames {
    /// The texts that the set has, or, where it has no tokens.jsonl, those that its examples show.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when the set is damaged, [`crate::Error::Io`].
    pub fn find(set: &FeatureSet) -> Result<Self> {
        if set.logits.is_none() {
            return Ok(Self::default());
        }
        match of_set(set)? {
            Some(texts) => Ok(Self(texts.into_iter().map(|(token, text)| (token, Some(text))).collect())),
            None => Self::find_in_examples(set),
        }
    }

    fn find_in_examples(set: &FeatureSet) -> Result<Self> {
        let tokens = set.logits.as_ref().map(logit_tokens).transpose()?.unwrap_or_default();
        let mut names = Self(tokens.into_iter().map(|token| (token, None)).collect());
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
