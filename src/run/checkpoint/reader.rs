//! Reads a checkpoint back, and checks it on the way.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{MANIFEST, Manifest, STATE};
use crate::engine::state::{StateSource, StateTensor, TIMES_FIRED, state_tensors};
use crate::error::{Error, Result};
use crate::sae::FeatureDensity;
use crate::storage::Checksum;
use crate::storage::tensor_file::TensorFile;

/// Bytes read at a time to verify a tensor.
const CHUNK_BYTES: u64 = 8 << 20;

/// An open checkpoint. Each tensor's checksum is checked with its last row.
pub struct Reader {
    path: PathBuf,
    manifest: Manifest,
    file: TensorFile,
    tensors: Vec<Tensor>,
}

struct Tensor {
    layout: StateTensor,
    place: Range<u64>,
    expected: String,
    read: u64,
    checksum: Checksum,
}

impl Reader {
    /// Opens the checkpoint in `path` and checks everything but the tensors' values.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Data`] naming what is damaged, or [`Error::Config`] for a checkpoint of another format.
    pub fn open(path: &Path) -> Result<Self> {
        let manifest = Manifest::read(path)?;
        manifest.sae.validate().map_err(|error| Error::data(path.join(MANIFEST), error.to_string()))?;
        let file = TensorFile::open(&path.join(STATE))?;
        let tensors = state_tensors(&manifest.sae, manifest.recipe.moments).into_iter().map(|layout| {
            let StateTensor { name, dtype, shape } = &layout;
            let place = match file.place(name) {
                Some((found, size, place)) if found == *dtype && size == shape => place,
                _ => return Err(Error::data(file.path(), format!("has no tensor {name} of {dtype:?} {shape:?}"))),
            };
            let Some((_, expected)) = manifest.checksums.iter().find(|(known, _)| known == name) else {
                return Err(Error::data(path.join(MANIFEST), format!("has no checksum of {name}")));
            };
            Ok(Tensor { place, expected: expected.clone(), read: 0, checksum: Checksum::default(), layout })
        });
        let tensors = tensors.collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), manifest, file, tensors })
    }

    /// The checkpoint's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The checkpoint's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often features fired, over all rows that were trained on.
    ///
    /// # Errors
    /// Those of reading the counters, and [`Error::Data`] when they are damaged.
    pub fn density(&mut self) -> Result<FeatureDensity> {
        let counters = self.tensors.iter().position(|tensor| tensor.layout.name == TIMES_FIRED);
        let counters = counters.ok_or_else(|| Error::data(&self.path, format!("has no {TIMES_FIRED}")))?;
        let features = self.manifest.sae.features;
        let tokens = self.manifest.step * self.manifest.recipe.batch as u64;
        let mut density = FeatureDensity::of([], tokens);
        let mut counts = vec![0_u32; features.min(CHUNK_BYTES as usize / size_of::<u32>())];
        for first in (0..features).step_by(counts.len()) {
            let end = features.min(first + counts.len());
            let counts = &mut counts[..end - first];
            self.read(counters, first as u64, bytemuck::cast_slice_mut(counts))?;
            density.add(counts.iter().map(|&count| count.into()), tokens);
        }
        Ok(density)
    }

    /// The file of the tensors.
    pub(super) fn file(&self) -> &TensorFile {
        &self.file
    }

    /// Reads a tensor and checks its checksum; nothing happens if the state has no such tensor.
    pub(super) fn verify_tensor(&mut self, name: &str) -> Result<()> {
        let tensor = self.tensors.iter().position(|tensor| tensor.layout.name == name);
        tensor.map_or(Ok(()), |tensor| self.read_whole(tensor))
    }

    fn read_whole(&mut self, tensor: usize) -> Result<()> {
        let layout = &self.tensors[tensor].layout;
        let (rows, row_bytes) = (layout.shape[0] as u64, layout.row_bytes());
        let step = (CHUNK_BYTES / row_bytes).max(1);
        let mut bytes = Vec::new();
        for first in (0..rows).step_by(step as usize) {
            bytes.resize((step.min(rows - first) * row_bytes) as usize, 0);
            self.read(tensor, first, &mut bytes)?;
        }
        Ok(())
    }
}

impl StateSource for Reader {
    fn read(&mut self, tensor: usize, first: u64, bytes: &mut [u8]) -> Result<()> {
        let Tensor { layout, place, expected, read, checksum } = &mut self.tensors[tensor];
        let at = first * layout.row_bytes();
        self.file.read_raw(&layout.name, place.start + at, bytes)?;
        if at == 0 {
            (*read, *checksum) = (0, Checksum::default());
        }
        checksum.update(bytes);
        *read += bytes.len() as u64;
        if *read == place.end - place.start && checksum.digest() != *expected {
            return Err(Error::data(
                self.file.path(),
                format!(
                    "tensor {} is damaged: its checksum is not that of {MANIFEST}; use another checkpoint",
                    layout.name
                ),
            ));
        }
        Ok(())
    }
}

/// Reads the whole checkpoint in `path` and gives what is wrong with it: nothing, if it is whole.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub fn verify(path: &Path) -> Result<Vec<Error>> {
    let mut reader = match Reader::open(path) {
        // One of another format is damaged to whoever wants to read it.
        Err(error @ (Error::Data { .. } | Error::Config(_))) => return Ok(vec![error]),
        other => other?,
    };
    let mut damages = Vec::new();
    for tensor in 0..reader.tensors.len() {
        match reader.read_whole(tensor) {
            Err(error @ Error::Data { .. }) => damages.push(error),
            other => other?,
        }
    }
    Ok(damages)
}
