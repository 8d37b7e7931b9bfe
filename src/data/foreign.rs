//! Files of other formats, recognised by their first bytes, and how to make activations of them.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::error::Error;

/// Bytes that tell a format.
const START: u64 = 4096;

/// The error of opening a file that starts so as safetensors, in better words if it is known to be something else.
pub(super) fn explain(error: Error, start: &[u8], path: &Path) -> Error {
    match recognise(start, path) {
        Some(problem) => Error::data(path, problem),
        None => error,
    }
}

/// The first bytes of a regular file, if it can be read.
pub(super) fn read_start(path: &Path) -> Option<Vec<u8>> {
    // Opening a pipe waits for its writer.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut start = Vec::new();
    File::open(path).ok()?.take(START).read_to_end(&mut start).ok()?;
    Some(start)
}

/// What the file is, and what to do.
fn recognise(start: &[u8], path: &Path) -> Option<String> {
    let words = |name: &str, cure: String| format!("is {name}, which is not read; {cure}");
    // `array` is of `sys.argv[1]`. safetensors writes an array as it lies in memory.
    let numpy = |name, imports: &str, array: &str, note: &str| {
        let program = format!(
            "import sys, {imports}numpy as np; from safetensors.numpy import save_file; \
             save_file({{'activations': np.ascontiguousarray({array})}}, sys.argv[2])"
        );
        words(name, format!("convert it{note}: {}", python(&program, path)))
    };
    let torch = || {
        let program = "import sys, torch; from safetensors.torch import save_file; \
                       x = torch.load(sys.argv[1], map_location='cpu', weights_only=True); \
                       save_file({'activations': x.contiguous()}, sys.argv[2])";
        words("a file of PyTorch", format!("convert it (of a dictionary, x['NAME']): {}", python(program, path)))
    };
    let column = " (put your column's name for the last 'activations')";
    Some(match start {
        [b'P', b'K', 3, 4, ..] => match first_of_zip(start) {
            name if name.ends_with(b".npy") => {
                let array = "next(iter(np.load(sys.argv[1]).values()))";
                numpy("an archive of NumPy arrays", "", array, " (the first array)")
            }
            name if is_of_torch(name) => torch(),
            _ => words("a zip archive", "unpack it, and give the safetensors files in it".into()),
        },
        // What torch.save wrote before version 1.6 starts with its magic number.
        [0x80, 2, 0x8a, 0x0a, b'l', 0xfc, ..] => torch(),
        [0x80, 4 | 5, 0x95, ..] | [0x80, 2 | 3, _, _, 1..=255, ..] => {
            let array = "pickle.load(open(sys.argv[1], 'rb'))";
            numpy("a Python pickle", "pickle, ", array, ", if you trust it, because that runs what it says")
        }
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => {
            let array = "np.stack(pyarrow.ipc.open_file(sys.argv[1]).read_all()['activations'].to_numpy())";
            numpy("an Arrow file", "pyarrow.ipc, ", array, column)
        }
        [0xff, 0xff, 0xff, 0xff, _, _, _, 0, ..] => {
            let array = "np.stack(pyarrow.ipc.open_stream(sys.argv[1]).read_all()['activations'].to_numpy())";
            numpy("an Arrow stream", "pyarrow.ipc, ", array, column)
        }
        [b'P', b'A', b'R', b'1', ..] => {
            let array = "np.stack(pyarrow.parquet.read_table(sys.argv[1])['activations'].to_numpy())";
            numpy("a Parquet file", "pyarrow.parquet, ", array, column)
        }
        [0x89, b'H', b'D', b'F', b'\r', b'\n', 0x1a, b'\n', ..] => {
            let array = "h5py.File(sys.argv[1])['activations'][:]";
            numpy("an HDF5 file", "h5py, ", array, " (put your data set's name for the last 'activations')")
        }
        [0x1f, 0x8b, 8, ..] => words("a file compressed with gzip", format!("unpack it: gzip -d {}", shell_word(path))),
        [b'G', b'G', b'U', b'F', ..] => {
            words("a GGUF file", "it holds a model's weights: run the model, and save its activations".into())
        }
        _ if start.starts_with(b"version https://git-lfs.github.com/spec/") => {
            words("a pointer of Git LFS", "get the file that it stands for: git lfs pull".into())
        }
        _ if is_json(start) && contains(start, b"\"weight_map\"") => {
            words("an index of safetensors files", "give the *.safetensors files that it lists".into())
        }
        _ if is_json(start) => {
            let array = "np.array(json.load(open(sys.argv[1])), 'float32')";
            numpy("a JSON file", "json, ", array, ", if it is a list of rows")
        }
        _ => return None,
    })
}

/// The name of the first file in a zip archive.
fn first_of_zip(start: &[u8]) -> &[u8] {
    let length = start.get(26..28).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    start.get(30..30 + length).unwrap_or_default()
}

/// The files that `torch.save` may write first.
fn is_of_torch(name: &[u8]) -> bool {
    [&b"/data.pkl"[..], b"/.format_version", b"/byteorder", b"/version"].iter().any(|end| name.ends_with(end))
}

fn is_json(start: &[u8]) -> bool {
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start).trim_ascii_start();
    let printable = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    matches!(start, [b'{' | b'[', ..]) && start.iter().all(printable)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A line for the shell that runs a Python program on `path` and a new file beside it.
fn python(program: &str, path: &Path) -> String {
    let mut new = path.with_extension("safetensors");
    if new == path {
        new = path.with_extension("converted.safetensors");
    }
    format!("python -c \"{program}\" {} {}", shell_word(path), shell_word(&new))
}

/// A path as a word for a POSIX shell, or for Windows'.
pub(super) fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c) || cfg!(windows) && ":\\".contains(c);
    let is_shown = |c: char| "'\"\\".contains(c) || c.escape_debug().len() == 1 && c != char::REPLACEMENT_CHARACTER;
    if text.chars().all(is_plain) {
        text.into_owned()
    } else if cfg!(windows) {
        format!("\"{}\"", text.chars().filter(|&c| is_shown(c)).collect::<String>())
    } else if text.chars().all(is_shown) {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        // Bash's and zsh's way to write any byte.
        let bytes = path.as_os_str().as_encoded_bytes().iter();
        let escaped: String = bytes.flat_map(|byte| std::ascii::escape_default(*byte).map(char::from)).collect();
        format!("$'{escaped}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a file that starts so.
    fn said(start: &[u8]) -> Option<String> {
        recognise(start, Path::new("a.bin"))
    }

    /// The start of a zip archive whose first file is called so.
    fn zip(name: &str) -> Vec<u8> {
        let mut start = b"PK\x03\x04".to_vec();
        start.resize(26, 0);
        start.extend((name.len() as u16).to_le_bytes());
        start.extend([0, 0]);
        start.extend(name.bytes());
        start
    }

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        for (start, name, cure) in [
            (&zip("arr_0.npy")[..], "an archive of NumPy arrays", "np.load(sys.argv[1]).values()"),
            (&zip("archive/data.pkl"), "a file of PyTorch", "torch.load(sys.argv[1]"),
            (&zip("x/.format_version"), "a file of PyTorch", "torch.load(sys.argv[1]"),
            (&zip("word/document.xml"), "a zip archive", "unpack it"),
            (b"PK\x03\x04", "a zip archive", "unpack it"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a file of PyTorch", "torch.load(sys.argv[1]"),
            (b"\x80\x04\x95\x9f\x00\x00\x00\x00\x00\x00\x00\x8c\x15numpy", "a Python pickle", "pickle.load("),
            (b"\x80\x03csome_module\n", "a Python pickle", "pickle.load("),
            (b"ARROW1\x00\x00\xff\xff\xff\xff", "an Arrow file", "open_file(sys.argv[1])"),
            (b"\xff\xff\xff\xff\x80\x00\x00\x00\x10", "an Arrow stream", "open_stream(sys.argv[1])"),
            (b"PAR1\x15\x04", "a Parquet file", "read_table(sys.argv[1])"),
            (b"\x89HDF\r\n\x1a\n\x00", "an HDF5 file", "h5py.File(sys.argv[1])"),
            (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "compressed with gzip", "gzip -d a.bin"),
            (b"GGUF\x03\x00\x00\x00", "a GGUF file", "run the model"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "a pointer of Git LFS", "git lfs pull"),
            (b"{\n  \"metadata\": {},\n  \"weight_map\": {", "an index of safetensors files", "that it lists"),
            (b"\xef\xbb\xbf [[1.0, 2.0],", "a JSON file", "json.load(open(sys.argv[1]))"),
        ] {
            let said = said(start).unwrap_or_default();
            assert!(said.contains(name) && said.contains(cure), "{}: {said}", start.escape_ascii());
            assert!(!said.contains("python") || said.ends_with(" a.bin a.safetensors"), "{said}");
        }
    }

    #[test]
    fn what_may_be_safetensors_is_not_taken_for_anything_else() {
        let header = |length: u64| [&length.to_le_bytes()[..], b"{\"activations\""].concat();
        // 640 begins as a pickle does, 123 as an object.
        for start in [
            &header(640)[..],
            &header(0x0480),
            &header(123),
            &header(u64::MAX),
            b"",
            b"\x80",
            b"\x80\x02",
            b"PK",
            b"noise",
        ] {
            assert_eq!(said(start), None, "{}", start.escape_ascii());
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_are_safe_in_a_shell_and_on_a_terminal() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        for name in [
            &b"a.npy"[..],
            b"a b$(touch x)`y`\"'.npy",
            b"-rf !\\ *.npy",
            b"\x1b[31m\n'.npy",
            b"\xff\xe9",
            "é😀".as_bytes(),
        ] {
            let word = shell_word(Path::new(OsStr::from_bytes(name)));
            assert!(!word.chars().any(char::is_control), "{word:?}");
            let output = std::process::Command::new("bash").args(["-c", &format!("printf %s {word}")]).output();
            // Where there is no bash, nothing can be shown.
            let Ok(output) = output else { return };
            assert_eq!(output.stdout, name, "{word}");
        }
        let line = python("1", Path::new("x/a.safetensors"));
        assert_eq!(line, "python -c \"1\" x/a.safetensors x/a.converted.safetensors");
    }
}
