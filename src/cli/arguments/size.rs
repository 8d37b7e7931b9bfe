//! Numbers of bytes as people type them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A number of bytes: 80GiB, 24GB, 500M.
#[derive(Clone, Debug)]
pub struct Size {
    pub bytes: u64,
    text: String,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let (letter, base) = match unit.strip_suffix("ib").or(unit.strip_suffix('b')) {
            Some(letter) if unit.ends_with("ib") => (letter, 1024_f64),
            Some(letter) => (letter, 1000.0),
            None => (&unit[..], 1024.0),
        };
        let power = ["", "k", "m", "g", "t"].iter().position(|prefix| *prefix == letter);
        match (number.parse::<f64>(), power) {
            (Ok(number), Some(power)) if number > 0.0 => {
                Ok(Self { bytes: (number * base.powi(power as i32)) as u64, text: text.to_owned() })
            }
            _ => Err("not a size, e.g. 80GiB, 24GB or 500M".into()),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        for (text, bytes) in
            [("80GiB", 80 << 30), ("24gb", 24_000_000_000), ("1.5M", 3 << 19), ("7", 7), ("2 TiB", 2 << 40)]
        {
            assert_eq!(text.parse::<Size>().unwrap().bytes, bytes, "{text}");
        }
        for text in ["", "GiB", "-1", "0", "5 apples", "1.2.3G", "NaN"] {
            text.parse::<Size>().unwrap_err();
        }
    }
}
