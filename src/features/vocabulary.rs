//! The text of tokens.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// The text of every token of a tokenizer.
#[derive(Debug)]
pub struct Vocabulary {
    path: PathBuf,
    /// By id; none where the tokenizer has no such token.
    texts: Vec<Option<Box<str>>>,
    special: Vec<SpecialToken>,
}

/// A token with a meaning of its own, such as the beginning of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecialToken {
    /// Its id.
    pub token: i64,
    /// Its text.
    pub text: String,
}

impl Vocabulary {
    /// Of these texts, by id, from the file `path`.
    pub fn new(path: &Path, texts: Vec<Option<Box<str>>>, special: Vec<SpecialToken>) -> Self {
        Self { path: path.to_owned(), texts, special }
    }

    /// The text of a token; none if there is no such token.
    pub fn text(&self, token: i64) -> Option<&str> {
        self.texts.get(usize::try_from(token).ok()?)?.as_deref()
    }

    /// The special tokens, by id.
    pub fn special(&self) -> &[SpecialToken] {
        &self.special
    }

    /// Where it is from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
