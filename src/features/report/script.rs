//! Data as a script that a page may load from disk: a call with JSON in a string.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// Longer text is cut for display, in characters.
const SHOWN: usize = 240;

/// A call of `function` with `value` as JSON in a string, and `key` before it if there is one.
pub(super) fn call(function: &str, key: Option<usize>, value: &impl Serialize) -> String {
    // What is written here consists of maps of strings, numbers and lists, which JSON can hold.
    let json = serde_json::to_string(value).unwrap_or_default();
    let mut script = format!("monosem.{function}(");
    if let Some(key) = key {
        let _ = write!(script, "{key}, ");
    }
    push_literal(&mut script, &json);
    script.push_str(");\n");
    script
}

/// A string literal of JavaScript that holds `text` and ends neither a script element nor a line, whatever it holds.
fn push_literal(script: &mut String, text: &str) {
    script.reserve(text.len() + text.len() / 8 + 2);
    script.push('"');
    for character in text.chars() {
        match character {
            '"' => script.push_str("\\\""),
            '\\' => script.push_str("\\\\"),
            '<' | '>' | '&' => push_escaped(script, character),
            ' '..='~' => script.push(character),
            // Controls, separators of lines, and what changes the direction of what an editor shows.
            _ if is_invisible(character) => push_escaped(script, character),
            _ => script.push(character),
        }
    }
    script.push('"');
}

fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn push_escaped(script: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let _ = write!(script, "\\u{unit:04x}");
    }
}

/// Text as the page takes it: whole, or its beginning and its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Shown {
    Whole(String),
    Cut {
        /// The first characters.
        start: String,
        /// Characters of the whole.
        characters: usize,
    },
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        match text.char_indices().nth(SHOWN) {
            None => Self::Whole(text.to_owned()),
            Some((end, _)) => Self::Cut { start: text[..end].to_owned(), characters: text.chars().count() },
        }
    }
}

/// Numbers for a typed array, little-endian in base64.
pub(super) fn base64<T: bytemuck::NoUninit>(values: &[T]) -> String {
    STANDARD.encode(bytemuck::cast_slice::<T, u8>(values))
}

/// The number to five significant digits, which is all that is shown of it.
pub(super) fn short(value: f32) -> f32 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser makes of the literal: JSON knows the same escapes.
    fn evaluated(script: &str) -> String {
        let literal = script.strip_prefix("monosem.f(7, ").unwrap().strip_suffix(");\n").unwrap();
        serde_json::from_str(literal).unwrap()
    }

    #[test]
    fn no_text_leaves_its_string() {
        let texts = [
            "</script><script>window.hacked = 1</script>",
            "<!--<script>",
            "\");alert(1);//",
            "\\\");alert(1);//",
            "a\u{2028}b\u{2029}c\r\nd\0e\u{7f}",
            "\u{202e}cod\u{2066}.exe\u{200f}\u{feff}\u{e0041}",
            "${alert(1)}`']]>&amp;",
            "it's é 日本語 😀",
        ];
        let script = call("f", Some(7), &texts);
        let json: Vec<String> = serde_json::from_str(&evaluated(&script)).unwrap();
        assert_eq!(json, texts);
        let body = script.strip_suffix('\n').unwrap();
        assert!(!body.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{200f}']), "{body}");
        assert!(!body.chars().any(char::is_control), "{body}");
    }

    #[test]
    fn long_text_is_cut_and_its_length_kept() {
        let long = "é".repeat(1 << 20);
        assert_eq!(Shown::from(&*long), Shown::Cut { start: "é".repeat(SHOWN), characters: 1 << 20 });
        let fits = "é".repeat(SHOWN);
        assert_eq!(Shown::from(&*fits), Shown::Whole(fits));
    }

    #[test]
    fn numbers_are_short_and_arrays_little_endian() {
        assert_eq!([1.234_567_8, 0.0, 9.999_96e-8, -12345.67].map(short), [1.2346, 0.0, 1e-7, -12346.0]);
        assert_eq!(base64(&[1_u32, 0x0203]), "AQAAAAMCAAA=");
    }
}
