//! tokens.jsonl: the text of each token that a set names by number alone, those of its logit weights.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::reader::{FeatureSet, Tensors};
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::storage::Dtype;

/// The file, in a set's directory.
const TOKENS: &str = "tokens.jsonl";

/// Rows of logit weights that are read at a time.
const ROWS: usize = 1 << 14;

/// A line.
#[derive(Debug, Deserialize, Serialize)]
struct TokenText<'a> {
    token: i64,
    text: Cow<'a, str>,
}

/// Writes the texts of the tokens of logits.safetensors in the directory of a set, by ascending token. Tokens that the
/// vocabulary lacks have no line.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write(directory: &Path, features: usize, vocabulary: &Vocabulary) -> Result<()> {
    let logits = Tensors::open(&directory.join("logits.safetensors"), features)?;
    let mut tokens: Vec<i64> = logit_tokens(&logits)?.into_iter().collect();
    tokens.sort_unstable();
    let path = directory.join(TOKENS);
    let mut file = BufWriter::new(File::create_new(&path).map_err(Error::io(&path))?);
    for token in tokens {
        let Some(text) = vocabulary.text(token) else { continue };
        let line = TokenText { token, text: text.into() };
        serde_json::to_writer(&mut file, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(Error::io(&path))?;
    }
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
    file.and_then(|file| file.sync_all()).map_err(Error::io(&path))
}

/// The texts that a set has of tokens; none if it has no such file.
///
/// # Errors
/// [`Error::Data`] when the file is damaged, [`Error::Io`].
pub(super) fn of_set(set: &FeatureSet) -> Result<Option<Vec<(i64, String)>>> {
    let path = set.directory.join(TOKENS);
    if !path.exists() {
        return Ok(None);
    }
    let file = BufReader::new(File::open(&path).map_err(Error::io(&path))?);
    let lines = serde_json::Deserializer::from_reader(file).into_iter::<TokenText<'static>>();
    let texts = lines.map(|line| {
        let TokenText { token, text } = line.map_err(|error| super::reader::invalid(&path, &error))?;
        Ok((token, text.into_owned()))
    });
    texts.collect::<Result<_>>().map(Some)
}

/// The tokens of logit weights.
///
/// # Errors
/// [`Error::Data`] when they are damaged, [`Error::Io`].
pub(super) fn logit_tokens(logits: &Tensors) -> Result<HashSet<i64>> {
    let mut tokens = HashSet::new();
    for name in ["top_tokens", "bottom_tokens"] {
        let column = logits.column(name, Dtype::I32)?;
        for first in (0..logits.features()).step_by(ROWS) {
            let of_rows: Vec<i32> = logits.rows(&column, first..logits.features().min(first + ROWS))?;
            tokens.extend(of_rows.into_iter().map(i64::from));
        }
    }
    Ok(tokens)
}
