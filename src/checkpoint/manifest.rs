//! What a checkpoint says of itself.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::MANIFEST;
use crate::error::{Error, Result};
use crate::sae::SaeConfig;
use crate::train::Recipe;

/// Raised when something changes that an older monosem would misunderstand.
const FORMAT: u32 = 1;

/// More than any manifest needs, and little enough to read from any file.
const MAX_BYTES: u64 = 16 << 20;

/// `manifest.json`. Random numbers need no state: they depend on the seed and on their own place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout.
    pub format: u32,
    /// Version of monosem that wrote it.
    pub version: String,
    /// Steps taken.
    pub step: u64,
    /// Position in the stream of rows at which the data goes on.
    pub data_position: u64,
    /// The SAE's sizes and selection.
    pub sae: SaeConfig,
    /// What the run does besides its data, its schedule included.
    pub recipe: Recipe,
    /// Whatever else the caller needs to go on.
    pub run: Value,
    /// XXH3 (64 bits) of each tensor's bytes, in hexadecimal.
    pub checksums: Vec<(String, String)>,
}

/// The manifest with its own checksum.
#[derive(Serialize, Deserialize)]
struct Sealed {
    manifest: Manifest,
    /// XXH3 of the manifest as compact JSON.
    checksum: String,
}

impl Manifest {
    /// The manifest of a state after `step` steps, before its tensors are known.
    pub fn new(step: u64, sae: &SaeConfig, recipe: &Recipe, run: Value) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            step,
            data_position: step * recipe.batch as u64,
            sae: sae.clone(),
            recipe: recipe.clone(),
            run,
            checksums: Vec::new(),
        }
    }

    /// Writes it into a checkpoint's directory, and waits until it is on the disk.
    pub(super) fn write(self, directory: &Path) -> Result<()> {
        let path = directory.join(MANIFEST);
        let write = || -> std::io::Result<()> {
            let checksum = self.checksum()?;
            let mut text = serde_json::to_vec_pretty(&Sealed { manifest: self, checksum })?;
            text.push(b'\n');
            let mut file = File::create_new(&path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(Error::io(&path))
    }

    /// Reads the manifest of the checkpoint in `directory`.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(MANIFEST);
        let mut text = Vec::new();
        File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text)).map_err(Error::io(&path))?;
        let damaged = |problem: String| Error::data(&path, format!("{problem}; use another checkpoint"));
        let sealed: Sealed = serde_json::from_slice(&text).map_err(|error| {
            damaged(format!("is damaged, or of another version: {}", error.to_string().escape_debug()))
        })?;
        let Sealed { manifest, checksum } = sealed;
        if manifest.format != FORMAT {
            return Err(damaged(format!("has format {}, and this monosem reads {FORMAT}", manifest.format)));
        }
        if manifest.checksum().map_err(Error::io(&path))? != checksum {
            return Err(damaged("is damaged: its checksum is another".into()));
        }
        Ok(manifest)
    }

    fn checksum(&self) -> std::io::Result<String> {
        Ok(format!("{:016x}", xxh3_64(&serde_json::to_vec(self)?)))
    }
}
