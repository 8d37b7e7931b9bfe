//! The texts of a Hugging Face tokenizer's tokens.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tokenizers::{Decoder, Tokenizer};

use super::vocabulary::{SpecialToken, Vocabulary};
use crate::error::{Error, Result};

/// Larger than any tokenizer, and little enough to read from any file.
const MAX_BYTES: u64 = 1 << 30;

/// Stands around a token whose text is asked for, because decoders treat the first and the last token specially.
const NEIGHBOR: &str = "a";

impl Vocabulary {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Data`] when it is no tokenizer.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(Error::io(path))?;
        let tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| {
            let error = error.to_string().escape_debug().to_string();
            Error::data(path, format!("is no tokenizer that can be read ({error}); give the model's tokenizer.json"))
        })?;
        let size = tokenizer.get_vocab(true).into_values().max().map_or(0, |last| last as usize + 1);
        let mut texts = vec![None; size.min(MAX_BYTES as usize)];
        let around = Surroundings::of(&tokenizer);
        for (token, text) in tokenizer.get_vocab(true) {
            if let Some(place) = texts.get_mut(text as usize) {
                *place = Some(around.text_between(&tokenizer, token).into());
            }
        }
        let mut special = Vec::new();
        for (id, added) in tokenizer.get_added_tokens_decoder() {
            if let Some(place) = texts.get_mut(id as usize) {
                *place = Some(added.content.as_str().into());
            }
            if added.special {
                special.push(SpecialToken { token: id.into(), text: added.content });
            }
        }
        special.sort_unstable_by_key(|special| special.token);
        Ok(Self::new(path, texts, special))
    }
}

/// What comes before and behind the text of a token between two others.
struct Surroundings {
    before: String,
    behind: String,
}

impl Surroundings {
    fn of(tokenizer: &Tokenizer) -> Self {
        let [one, two] = [1, 2].map(|count| decode(tokenizer, vec![NEIGHBOR.to_owned(); count]).unwrap_or_default());
        let behind = two.strip_prefix(&one).unwrap_or_default().to_owned();
        Self { before: one, behind }
    }

    /// A token's own text; as the tokenizer has it, where it cannot be told apart from its surroundings.
    fn text_between(&self, tokenizer: &Tokenizer, token: String) -> String {
        let all = decode(tokenizer, vec![NEIGHBOR.to_owned(), token.clone(), NEIGHBOR.to_owned()]);
        let own = all.as_deref().and_then(|all| all.strip_prefix(&*self.before)?.strip_suffix(&*self.behind));
        own.map_or(token, str::to_owned)
    }
}

/// The text of tokens; none without a decoder, or if it fails.
fn decode(tokenizer: &Tokenizer, tokens: Vec<String>) -> Option<String> {
    tokenizer.get_decoder()?.decode(tokens).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The texts of these tokens under a decoder.
    fn texts(tokens: &[&str], decoder: Value) -> Vec<String> {
        let vocabulary: serde_json::Map<String, Value> =
            tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
        let added = json!([{
            "id": tokens.len(), "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }]);
        let model = json!({ "type": "WordLevel", "vocab": vocabulary, "unk_token": tokens[0] });
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": decoder, "model": model,
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), tokenizer.to_string()).unwrap();
        let known = Vocabulary::read(file.path()).unwrap();
        assert_eq!(known.special(), [SpecialToken { token: tokens.len() as i64, text: "<|end|>".into() }]);
        assert_eq!(
            [-1, tokens.len() as i64, tokens.len() as i64 + 1].map(|id| known.text(id)),
            [None, Some("<|end|>"), None]
        );
        (0..tokens.len() as i64).map(|id| known.text(id).unwrap().to_owned()).collect()
    }

    #[test]
    fn a_token_has_its_own_text() {
        let byte_level =
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
        // The bytes of é, together and apart, and a token that is no sequence of bytes.
        let tokens = ["Ġthe", "the", "Ã©", "Ã", "©", "Ċ", "日", "a", "Ġ"];
        assert_eq!(texts(&tokens, byte_level), [" the", "the", "é", "\u{fffd}", "\u{fffd}", "\n", "日", "a", " "]);

        let word_piece = json!({ "type": "WordPiece", "prefix": "##", "cleanup": true });
        assert_eq!(texts(&["the", "##ing", ".", "a"], word_piece), [" the", "ing", ".", " a"]);

        let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
        assert_eq!(texts(&["▁the", "the", "▁"], metaspace), [" the", "the", " "]);

        let llama = json!({ "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " }, { "type": "ByteFallback" },
            { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] });
        assert_eq!(texts(&["▁the", "the", "<0x0A>", "<0xC3>"], llama), [" the", "the", "\n", "\u{fffd}"]);

        let suffix = json!({ "type": "BPEDecoder", "suffix": "</w>" });
        assert_eq!(texts(&["the</w>", "the"], suffix), ["the ", "the"]);
        assert_eq!(texts(&["the", "##x"], Value::Null), ["the", "##x"]);
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "{}", "[1", "\0\u{7}"] {
            std::fs::write(file.path(), text).unwrap();
            let error = Vocabulary::read(file.path()).unwrap_err();
            assert!(matches!(error, Error::Data { .. }), "{text}: {error}");
            assert!(error.to_string().contains("is no tokenizer that can be read"), "{error}");
        }
        assert!(matches!(Vocabulary::read(Path::new("/nowhere")), Err(Error::Io { .. })));
    }
}
