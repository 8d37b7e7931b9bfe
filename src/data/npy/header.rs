//! The header of .npy: a Python dictionary of three entries, the only Python that is understood here.

/// What a header says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// Type of the values; `[` for one of several fields.
    pub descr: String,
    pub fortran_order: bool,
    pub shape: Vec<u64>,
}

/// Dimensions of an array: NumPy has at most 64.
const MAX_RANK: usize = 64;

/// Reads a header without its length.
pub(super) fn parse(text: &[u8]) -> Result<Header, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let mut rest = Rest { text, left: text };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    rest.expect('{')?;
    while !rest.take('}') {
        let key = rest.string()?;
        rest.expect(':')?;
        let was_known = match key {
            // Its fields are not read, and nor is what comes behind them.
            "descr" if rest.take('[') => return Ok(Header { descr: "[".into(), fortran_order: false, shape: vec![] }),
            "descr" => descr.replace(rest.string()?.to_owned()).is_some(),
            "fortran_order" => fortran_order.replace(rest.boolean()?).is_some(),
            "shape" => shape.replace(rest.tuple()?).is_some(),
            _ => return Err(format!("an entry '{}', which the format does not have", shown(key))),
        };
        if was_known {
            return Err(format!("two entries '{key}'"));
        }
        if !rest.take(',') {
            rest.expect('}')?;
            break;
        }
    }
    rest.skip_spaces();
    if !rest.left.is_empty() {
        return Err(rest.unexpected("the end"));
    }
    let missing = |key: &str| format!("no entry '{key}'");
    Ok(Header {
        descr: descr.ok_or_else(|| missing("descr"))?,
        fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
    })
}

/// A header of which the start has been read.
struct Rest<'a> {
    text: &'a str,
    left: &'a str,
}

impl<'a> Rest<'a> {
    fn skip_spaces(&mut self) {
        self.left = self.left.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_spaces();
        let after = self.left.strip_prefix(wanted);
        self.left = after.unwrap_or(self.left);
        after.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(self.unexpected(&format!("`{wanted}`"))) }
    }

    /// A string without escapes.
    fn string(&mut self) -> Result<&'a str, String> {
        self.skip_spaces();
        let quote = self.left.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        let inside = quote.and_then(|quote| self.left[1..].split_once(quote));
        let Some((string, left)) = inside.filter(|(string, _)| !string.contains('\\')) else {
            return Err(self.unexpected("a string"));
        };
        self.left = left;
        Ok(string)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.skip_spaces();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(left) = self.left.strip_prefix(word) {
                self.left = left;
                return Ok(value);
            }
        }
        Err(self.unexpected("True or False"))
    }

    fn tuple(&mut self) -> Result<Vec<u64>, String> {
        let mut numbers = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            if numbers.len() == MAX_RANK {
                return Err(format!("a shape of more than {MAX_RANK} dimensions"));
            }
            numbers.push(self.number()?);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(numbers)
    }

    fn number(&mut self) -> Result<u64, String> {
        self.skip_spaces();
        let digits = self.left.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(self.left.len());
        let number = self.left[..digits].parse().map_err(|_| self.unexpected("a length"))?;
        // Python 2 wrote long integers so.
        self.left = self.left[digits..].trim_start_matches('L');
        Ok(number)
    }

    fn unexpected(&self, wanted: &str) -> String {
        let place = self.text.len() - self.left.len();
        let found = if self.left.is_empty() { "its end".into() } else { format!("`{}`", shown(self.left)) };
        format!("{wanted} is missing at character {place}, where it has {found}")
    }
}

fn shown(text: &str) -> String {
    text.chars().take(20).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_numpy_writes_is_read() {
        for (text, descr, fortran_order, shape) in [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n", "<f4", false, &[3, 4][..]),
            ("{'descr': '|V2', 'fortran_order': True, 'shape': (3,), }\n", "|V2", true, &[3]),
            ("{\"shape\":(),\"fortran_order\":False,\"descr\":\"<f2\"}", "<f2", false, &[]),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (3L, 40L)}", "<f8", false, &[3, 40]),
            ("{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (3,), }", "[", false, &[]),
        ] {
            let expected = Header { descr: descr.into(), fortran_order, shape: shape.into() };
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn faults_are_named() {
        let many = format!("{{'shape': ({})}}", "1,".repeat(65));
        for (text, expected) in [
            ("", "`{` is missing at character 0, where it has its end"),
            ("{'descr': '<f4', 'fortran_order': False, }", "no entry 'shape'"),
            ("{'shape': (1, 2), 'fortran_order': False, }", "no entry 'descr'"),
            ("{'shape': (1, 2), 'descr': '<f4', }", "no entry 'fortran_order'"),
            ("{'descr': '<f4', 'descr': '<f2'}", "two entries 'descr'"),
            ("{'x\u{1b}': 1}", "an entry 'x\\u{1b}', which the format does not have"),
            ("{'descr': '<f\\'4'}", "a string is missing at character 10"),
            ("{'descr': é}", "a string is missing at character 10, where it has `é}`"),
            ("{'descr': <f4}", "a string is missing at character 10, where it has `<f4}`"),
            ("{'descr': '<f4' 'shape': ()}", "`}` is missing at character 16"),
            ("{'shape': [1, 2]}", "`(` is missing at character 10"),
            ("{'shape': (-1, 2)}", "a length is missing at character 11"),
            ("{'shape': (18446744073709551616, 2)}", "a length is missing at character 11"),
            ("{'shape': (1 2)}", "`)` is missing at character 13"),
            (&many, "a shape of more than 64 dimensions"),
            ("{'fortran_order': 0}", "True or False is missing at character 18"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)} x", "the end is missing at character 58"),
        ] {
            let fault = parse(text.as_bytes()).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
        assert!(parse(b"\xff").unwrap_err().contains("utf-8"));
        // What no parser may take long for.
        let nested = format!("{{'descr': '<f4', 'shape': {}", "(".repeat(60_000));
        assert!(parse(nested.as_bytes()).unwrap_err().contains("a length is missing at character 27"));
    }
}
