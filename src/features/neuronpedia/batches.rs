//! Files of lines, gzipped: a batch of features each.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::error::{Error, Result};

/// Bytes of lines after which a batch ends with its feature: the importer takes a file as one string, of at most 512
/// MiB in Node, and up to 65,000 of its lines as one value of jsonb, of at most 256 MiB in Postgres.
const MOST_BYTES: u64 = 64 << 20;

/// What a file has a line for each of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Features,
    Activations,
    Explanations,
}

/// The files of all kinds; the same batch of each is of the same features. A file that would be empty is not there,
/// because the importer reads its first line.
pub(super) struct Batches<'a> {
    directory: &'a Path,
    batch: u64,
    files: [Option<Lines>; 3],
}

struct Lines {
    path: PathBuf,
    file: GzEncoder<BufWriter<File>>,
    bytes: u64,
}

impl<'a> Batches<'a> {
    /// The first batch, in a directory.
    pub fn new(directory: &'a Path) -> Self {
        Self { directory, batch: 0, files: [None, None, None] }
    }

    /// Adds a line of the batch's present feature.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&mut self, kind: Kind, line: &impl Serialize) -> Result<()> {
        let lines = match &mut self.files[kind as usize] {
            Some(lines) => lines,
            none => none.insert(Lines::create(self.directory, kind, self.batch)?),
        };
        let json = json(&lines.path, line)?;
        lines.bytes += json.len() as u64;
        writeln!(lines.file, "{json}").map_err(Error::io(&lines.path))
    }

    /// Ends a feature, and with it the batch if that is large enough.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn end_feature(&mut self) -> Result<()> {
        match self.files.iter().flatten().any(|lines| lines.bytes >= MOST_BYTES) {
            true => self.end_batch(),
            false => Ok(()),
        }
    }

    /// Ends the last batch; the number of batches.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<u64> {
        if self.files.iter().any(Option::is_some) {
            self.end_batch()?;
        }
        Ok(self.batch)
    }

    fn end_batch(&mut self) -> Result<()> {
        self.batch += 1;
        self.files.iter_mut().filter_map(Option::take).try_for_each(Lines::close)
    }
}

impl Lines {
    fn create(directory: &Path, kind: Kind, batch: u64) -> Result<Self> {
        let directory = directory.join(match kind {
            Kind::Features => "features",
            Kind::Activations => "activations",
            Kind::Explanations => "explanations",
        });
        fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
        let path = directory.join(format!("batch-{batch}.jsonl.gz"));
        let file = BufWriter::new(File::create_new(&path).map_err(Error::io(&path))?);
        Ok(Self { path, file: GzEncoder::new(file, Compression::default()), bytes: 0 })
    }

    fn close(self) -> Result<()> {
        let file = self.file.finish().and_then(|file| file.into_inner().map_err(std::io::IntoInnerError::into_error));
        file.and_then(|file| file.sync_all()).map_err(Error::io(&self.path))
    }
}

/// A line of the file `path`.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn json(path: &Path, line: &impl Serialize) -> Result<String> {
    serde_json::to_string(line).map(without_nul).map_err(|error| Error::io(path)(error.into()))
}

/// Postgres keeps no NUL, which is shown as U+2400. The importer moreover replaces the characters `\u0000` wherever
/// they stand, also where the backslash is text, which is therefore written by its number.
fn without_nul(json: String) -> String {
    if !json.contains(r"\u0000") {
        return json;
    }
    let (mut safe, mut rest) = (String::with_capacity(json.len()), &*json);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        let (written, length) = match escape.strip_prefix(r"\u0000") {
            Some(_) => ("\u{2400}", 6),
            None if escape.starts_with(r"\\") => (r"\u005c", 2),
            None => (&escape[..2], 2),
        };
        safe.push_str(before);
        safe.push_str(written);
        rest = &escape[length..];
    }
    safe + rest
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_batch_ends_with_a_feature_and_has_no_empty_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut batches = Batches::new(path);
        let half = "x".repeat(MOST_BYTES as usize / 2);
        for feature in 0..3 {
            batches.add(Kind::Features, &feature).unwrap();
            match feature {
                2 => batches.add(Kind::Explanations, &"last").unwrap(),
                _ => batches.add(Kind::Activations, &half).unwrap(),
            }
            batches.end_feature().unwrap();
        }
        assert_eq!(batches.finish().unwrap(), 2);
        let read = |name: &str| {
            let mut text = String::new();
            GzDecoder::new(File::open(path.join(name)).unwrap()).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(["features/batch-0.jsonl.gz", "features/batch-1.jsonl.gz"].map(read), ["0\n1\n", "2\n"]);
        assert_eq!(read("activations/batch-0.jsonl.gz"), format!("\"{half}\"\n").repeat(2));
        assert_eq!(read("explanations/batch-1.jsonl.gz"), "\"last\"\n");
        let empty = ["activations/batch-1.jsonl.gz", "explanations/batch-0.jsonl.gz"];
        assert!(empty.iter().all(|name| !path.join(name).exists()));
    }

    #[test]
    fn what_the_importer_would_break_is_written_otherwise() {
        for (text, expected) in [
            ("plain \\ \"\n", "plain \\ \"\n"),
            ("nul\0 ", "nul\u{2400} "),
            ("\\u0000", "\\u0000"),
            ("\\\0\\\\u0000\"\u{1}\n\\", "\\\u{2400}\\\\u0000\"\u{1}\n\\"),
            ("é\0\u{2028}", "é\u{2400}\u{2028}"),
        ] {
            let line = json(Path::new("file"), &text).unwrap();
            // As the importer does.
            let taken = line.replace(r"\u0000", " ");
            assert_eq!(serde_json::from_str::<String>(&taken).unwrap(), expected, "{line}");
            assert_eq!(line.lines().count(), 1);
        }
    }
}
