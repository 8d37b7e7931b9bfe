//! `manifest.json`: all of a checkpoint but its tensors.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MANIFEST;
use crate::data::Provenance;
use crate::engine::RULES;
use crate::error::{Error, Result};
use crate::gpu::shaders;
use crate::sae::SaeConfig;
use crate::storage::{self, Checksum, replace_file};
use crate::train::Recipe;

/// Raised when something changes that an older monosem would misunderstand.
const FORMAT: u64 = 6;

/// More than any manifest needs, and little enough to read from any file.
const MAX_BYTES: u64 = 16 << 20;

/// The code that decides the bits of a step: two builds with the same marks compute the same, on one device and driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// [`RULES`] of the build.
    pub rules: String,
    /// XXH3 (64 bits) of the names and texts of its shaders, in hexadecimal.
    pub shaders: String,
}

impl Marks {
    /// Those of this build.
    pub fn current() -> Self {
        let mut checksum = Checksum::default();
        for source in shaders::ALL {
            checksum.update(source.name.as_bytes());
            checksum.update(source.text.as_bytes());
        }
        for entry in shaders::entry::ALL {
            checksum.update(entry.name.as_bytes());
            checksum.update(entry.text.as_bytes());
        }
        Self { rules: RULES.into(), shaders: checksum.digest() }
    }
}

/// `manifest.json`. Random numbers need no state: they depend on the seed and on their own place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout.
    pub format: u64,
    /// Version of monosem that wrote it.
    pub version: String,
    /// Mark of the summation rules that the steps were taken under: [`Marks::rules`].
    pub rules: String,
    /// Mark of the shaders that took the steps: [`Marks::shaders`].
    pub shaders: String,
    /// Steps taken.
    pub step: u64,
    /// Position in the stream of rows at which the data continue.
    pub data_position: u64,
    /// The SAE's sizes and selection.
    pub sae: SaeConfig,
    /// Origin of the activations, for the metadata of an exported SAE.
    pub provenance: Provenance,
    /// The training recipe, its schedule included.
    pub recipe: Recipe,
    /// State of the run around the training.
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

/// The part of a manifest that every format has.
#[derive(Deserialize)]
struct AnyFormat {
    manifest: FormatOnly,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
    #[serde(default)]
    version: String,
}

impl Manifest {
    /// The manifest of a state after `step` steps of this build, before its tensors are known; provenance and `run` are
    /// empty.
    pub fn new(step: u64, sae: &SaeConfig, recipe: &Recipe) -> Self {
        let Marks { rules, shaders } = Marks::current();
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            rules,
            shaders,
            step,
            data_position: step * recipe.batch as u64,
            sae: sae.clone(),
            provenance: Provenance::default(),
            recipe: recipe.clone(),
            run: Value::Null,
            checksums: Vec::new(),
        }
    }

    /// The marks of the build that took the steps.
    pub fn marks(&self) -> Marks {
        Marks { rules: self.rules.clone(), shaders: self.shaders.clone() }
    }

    /// Writes it into a checkpoint's directory, and waits until it is on the disk.
    pub(super) fn write(self, directory: &Path) -> Result<()> {
        let path = directory.join(MANIFEST);
        let checksum = self.checksum().map_err(Error::io(&path))?;
        let text = serde_json::to_vec_pretty(&Sealed { manifest: self, checksum });
        let mut text = text.map_err(|error| Error::io(&path)(error.into()))?;
        text.push(b'\n');
        replace_file(&path, &text)
    }

    /// Reads the manifest of the checkpoint in `directory`.
    ///
    /// # Errors
    /// [`Error::Config`] for another format, [`Error::Data`] for a damaged manifest, [`Error::Io`].
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(MANIFEST);
        let mut text = Vec::new();
        File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text)).map_err(Error::io(&path))?;
        let damaged = |problem: String| Error::data(&path, format!("{problem}; use another checkpoint"));
        if let Ok(AnyFormat { manifest }) = serde_json::from_slice(&text) {
            check_format(directory, &manifest)?;
        }
        let sealed: Sealed = serde_json::from_slice(&text)
            .map_err(|error| damaged(format!("is damaged: {}", error.to_string().escape_debug())))?;
        let Sealed { manifest, checksum } = sealed;
        if manifest.checksum().map_err(Error::io(&path))? != checksum {
            return Err(damaged("is damaged: its checksum does not match".into()));
        }
        Ok(manifest)
    }

    fn checksum(&self) -> std::io::Result<String> {
        Ok(storage::checksum(&serde_json::to_vec(self)?))
    }
}

/// Refuses other formats by name. They are not damage: nothing may be removed because of them.
fn check_format(directory: &Path, FormatOnly { format, version }: &FormatOnly) -> Result<()> {
    let name = directory.to_string_lossy();
    let name = name.escape_debug();
    let version = version.escape_debug();
    match *format {
        FORMAT => Ok(()),
        ..FORMAT => Err(Error::Config(format!(
            "{name} was written by monosem before format {FORMAT} (format {format}, version {version}); it cannot be \
             resumed, start again, or use the commit that wrote it"
        ))),
        _ => Err(Error::Config(format!(
            "{name} was written by a newer monosem (format {format}, version {version}); this one reads format \
             {FORMAT}: use the newer one"
        ))),
    }
}
