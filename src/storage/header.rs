//! The header of a safetensors file: what it says, checked as a whole.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Dtype, checksum};

/// A header whose tensors lie one after another, without gap or overlap.
#[derive(Debug, Serialize)]
pub(super) struct Header {
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
    #[serde(skip)]
    data_bytes: usize,
}

/// Type, shape and place of a tensor, from the end of the header on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TensorInfo {
    /// As the file names it: it need not be known.
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) data_offsets: (usize, usize),
}

/// What is wrong with a header.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// It is not JSON of the right form: the file may be anything.
    NotAHeader(String),
    /// It is one, and breaks a rule of the format.
    Wrong(String),
}

impl Header {
    /// Reads a header without its length.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Fault> {
        let not_a_header = |error: &dyn fmt::Display| Fault::NotAHeader(error.to_string());
        let text = std::str::from_utf8(json).map_err(|error| not_a_header(&error))?;
        let Entries(entries) = serde_json::from_str(text).map_err(|error| not_a_header(&error))?;
        let (mut tensors, mut metadata) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in entries {
            if name == "__metadata__" {
                metadata = parse_metadata(value).map_err(Fault::Wrong)?;
                continue;
            }
            let info = TensorInfo::parse(value).map_err(|problem| wrong(&name, &problem))?;
            let known = tensors.insert(name.clone(), info);
            if known.is_some() {
                return Err(wrong(&name, "is named twice"));
            }
        }
        let data_bytes = check_places(&tensors)?;
        Ok(Self { tensors, metadata, data_bytes })
    }

    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Names of the tensors, in file order.
    pub(super) fn names(&self) -> Vec<&str> {
        in_file_order(&self.tensors).into_iter().map(|(name, _)| name).collect()
    }

    /// The metadata.
    pub(super) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Bytes of all tensors.
    pub(super) fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// The checksum of what it says, whatever the order in which it is said.
    pub(super) fn checksum(&self) -> String {
        // Maps of strings and numbers have a JSON.
        checksum(serde_json::json!(self).to_string().as_bytes())
    }
}

impl TensorInfo {
    /// Its type, if it is one that can be used.
    pub(super) fn dtype(&self) -> Option<Dtype> {
        serde_json::from_value(self.dtype.as_str().into()).ok()
    }

    fn parse(value: &RawValue) -> Result<Self, String> {
        let info: Self = serde_json::from_str(value.get()).map_err(|error| {
            // Its line and column count from the entry, which nobody sees.
            let problem = error.to_string();
            format!("cannot be read: {}", printable(problem.split(" at line ").next().unwrap_or_default()))
        })?;
        let Self { dtype, shape, data_offsets: (start, end) } = &info;
        let Some(held) = end.checked_sub(*start) else {
            return Err(format!("ends before it starts (data_offsets [{start}, {end}])"));
        };
        // The format counts bits, for types of less than a byte; the length of another type is what it takes.
        let stored = serde_json::from_value::<safetensors::Dtype>(dtype.as_str().into());
        let Ok(bits) = stored.map(|stored| stored.bitsize()) else { return Ok(info) };
        let product = shape.iter().try_fold(bits, |size, &length| size.checked_mul(length));
        let Some(needed) = product else {
            return Err(format!("has shape {shape:?}, of more bytes than can be counted"));
        };
        if held.checked_mul(8) != Some(needed) {
            let needed = needed as f64 / 8.0;
            return Err(format!("of {dtype} {shape:?} needs {needed} bytes, and its data_offsets hold {held}"));
        }
        Ok(info)
    }
}

/// The number of bytes of all tensors, if they lie one after another.
fn check_places(tensors: &BTreeMap<String, TensorInfo>) -> Result<usize, Fault> {
    let (mut end, mut last) = (0, None);
    for (name, info) in in_file_order(tensors) {
        let start = info.data_offsets.0;
        if start != end {
            let before =
                last.map_or("the data start".into(), |last: &str| format!("tensor `{}` ends", printable(last)));
            let problem = if start < end { "they overlap" } else { "the format allows no gap" };
            return Err(wrong(name, &format!("starts at byte {start}, and {before} at byte {end}: {problem}")));
        }
        (end, last) = (info.data_offsets.1, Some(name));
    }
    Ok(end)
}

fn in_file_order(tensors: &BTreeMap<String, TensorInfo>) -> Vec<(&str, &TensorInfo)> {
    let mut tensors: Vec<_> = tensors.iter().map(|(name, info)| (name.as_str(), info)).collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    tensors
}

fn wrong(tensor: &str, problem: &str) -> Fault {
    Fault::Wrong(format!("tensor `{}` {problem}", printable(tensor)))
}

/// The entries of `__metadata__`, all of which must be strings.
fn parse_metadata(value: &RawValue) -> Result<BTreeMap<String, String>, String> {
    if value.get() == "null" {
        return Ok(BTreeMap::new());
    }
    let Ok(Entries(entries)) = serde_json::from_str(value.get()) else {
        return Err(format!("__metadata__ is {}; the format allows only an object of strings", kind(value)));
    };
    let text = |(key, value): (String, &RawValue)| match serde_json::from_str(value.get()) {
        Ok(text) => Ok((key, text)),
        Err(_) => Err(format!(
            "metadata key `{}` is {}; the format allows only strings, e.g. \"{}\"",
            printable(&key),
            kind(value),
            printable(value.get())
        )),
    };
    entries.into_iter().map(text).collect()
}

/// What a JSON value is.
fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes() {
        [b'n', ..] => "null",
        [b't' | b'f', ..] => "a boolean",
        [b'[', ..] => "a list",
        [b'{', ..] => "an object",
        [b'"', ..] => "a string",
        _ => "a number",
    }
}

/// The entries of an object, in its order, names that come twice included.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Collect).map(Entries)
    }
}

/// Foreign text, safe and short enough for a message.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(160).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> String {
        match Header::parse(json.as_bytes()).unwrap_err() {
            Fault::NotAHeader(problem) => format!("no header: {problem}"),
            Fault::Wrong(problem) => problem,
        }
    }

    fn entry(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    }

    #[test]
    fn faults_are_named() {
        let (a, b) = (entry("a", "F32", "[2,3]", "[0,24]"), |offsets| entry("b\\n", "U8", "[4]", offsets));
        let max = usize::MAX;
        for (json, expected) in [
            (
                r#"{"__metadata__":{"x":"1","context_size":128}}"#,
                "metadata key `context_size` is a number; the format allows only strings, e.g. \"128\"",
            ),
            (r#"{"__metadata__":{"\u001b":null}}"#, "metadata key `\\u{1b}` is null; the format allows only strings"),
            (r#"{"__metadata__":{"x":[1,{"y":2}]}}"#, "metadata key `x` is a list; "),
            (r#"{"__metadata__":{"x":{}}}"#, "metadata key `x` is an object; "),
            (r#"{"__metadata__":{"x":true}}"#, "metadata key `x` is a boolean; "),
            (r#"{"__metadata__":["x"]}"#, "__metadata__ is a list; the format allows only an object of strings"),
            (&format!("{{{a},{a}}}"), "tensor `a` is named twice"),
            (
                &format!("{{{a},{}}}", b("[20,24]")),
                "tensor `b\\n` starts at byte 20, and tensor `a` ends at byte 24: they overlap",
            ),
            (
                &format!("{{{a},{}}}", b("[28,32]")),
                "tensor `b\\n` starts at byte 28, and tensor `a` ends at byte 24: the format allows no gap",
            ),
            (
                &format!("{{{}}}", b("[1,5]")),
                "tensor `b\\n` starts at byte 1, and the data start at byte 0: the format allows no gap",
            ),
            (&format!("{{{}}}", b("[4,0]")), "tensor `b\\n` ends before it starts (data_offsets [4, 0])"),
            (
                &format!("{{{}}}", entry("a", "F32", "[2,3]", "[0,20]")),
                "tensor `a` of F32 [2, 3] needs 24 bytes, and its data_offsets hold 20",
            ),
            (
                &format!("{{{}}}", entry("a", "F4", "[3]", "[0,2]")),
                "tensor `a` of F4 [3] needs 1.5 bytes, and its data_offsets hold 2",
            ),
            (
                &format!("{{{}}}", entry("a", "F16", &format!("[{max},{max}]"), "[0,4]")),
                "of more bytes than can be counted",
            ),
            (
                &format!("{{{}}}", entry("a", "F16", "[-1]", "[0,4]")),
                "tensor `a` cannot be read: invalid value: integer `-1`, expected usize",
            ),
            (r#"{"a":{"dtype":"F32","shape":[1]}}"#, "tensor `a` cannot be read: missing field `data_offsets`"),
            (r#"{"a":7}"#, "tensor `a` cannot be read: invalid type: integer `7`"),
            ("[]", "no header: invalid type: sequence, expected an object"),
            ("{", "no header: EOF while parsing"),
            ("{}x", "no header: trailing characters"),
        ] {
            let fault = fault(json);
            assert!(fault.contains(expected), "{json}: {fault}");
        }
        assert!(matches!(Header::parse(b"\xff"), Err(Fault::NotAHeader(_))));
    }

    #[test]
    fn a_tensor_of_an_unknown_type_is_like_any_other() {
        let known = entry("a", "F32", "[2,3]", "[8,32]");
        let header =
            Header::parse(format!("{{{known},{}}}", entry("new", "F4_NEW", "[5]", "[0,8]")).as_bytes()).unwrap();
        assert_eq!((header.names(), header.data_bytes()), (vec!["new", "a"], 32));
        assert_eq!(header.tensor("a").unwrap().dtype(), Some(Dtype::F32));
        assert_eq!(header.tensor("new").unwrap().dtype(), None);
    }

    #[test]
    fn one_content_has_one_checksum() {
        let parse = |json: &str| Header::parse(json.as_bytes()).unwrap().checksum();
        let (a, b) = (entry("a", "F32", "[2]", "[0,8]"), entry("b", "U8", "[4]", "[8,12]"));
        let one = parse(&format!(r#"{{{a},{b},"__metadata__":{{"x":"1","y":"2"}}}}"#));
        assert_eq!(one, parse(&format!(r#"{{ "__metadata__":{{"y":"2","x":"1"}},{b},{a}}}  "#)));
        assert_ne!(one, parse(&format!(r#"{{{a},{b},"__metadata__":{{"x":"1","y":"3"}}}}"#)));
        assert_ne!(one, parse(&format!(r#"{{{a},{b}}}"#)));
    }
}
