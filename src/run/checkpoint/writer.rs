//! Writes a checkpoint on a thread of its own, while the training continues.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::{Manifest, STATE, path};
use crate::engine::state::{StateSink, StateTensor, Tile, state_tensors};
use crate::error::{Error, Result};
use crate::sae::SaeConfig;
use crate::storage::staging::Staging;
use crate::storage::{Checksum, TensorWriter};
use crate::train::MomentPrecision;

/// Tiles that wait for the disk.
const DEPTH: usize = 2;

/// A checkpoint that is being written. Dropped before it is committed, it leaves nothing behind.
pub struct Writer {
    step: u64,
    tiles: Option<SyncSender<Tile>>,
    manifest: Option<Sender<Manifest>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    /// Begins the checkpoint after `step` steps in `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is one already, [`Error::Io`].
    pub fn create(directory: &Path, config: &SaeConfig, moments: MomentPrecision, step: u64) -> Result<Self> {
        fs::create_dir_all(directory).map_err(Error::io(directory))?;
        let target = path(directory, step);
        let file = StateFile::create(Staging::new(&target)?, state_tensors(config, moments))?;
        let (tiles, waiting) = sync_channel(DEPTH);
        let (manifest, committed) = channel();
        let thread = thread::Builder::new()
            .name("monosem-checkpoint".into())
            .spawn(move || file.write(&waiting, &committed, &target))
            .map_err(Error::io("the thread that writes checkpoints"))?;
        Ok(Self { step, tiles: Some(tiles), manifest: Some(manifest), thread: Some(thread) })
    }

    /// Steps after which the state is.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Gives the checkpoint its name as soon as it is on the disk, once all of its tiles were put; does not wait for
    /// it.
    pub fn commit(&mut self, manifest: Manifest) {
        self.tiles = None;
        if let Some(sender) = self.manifest.take() {
            // A thread that is gone has an error, which `finish` returns.
            let _ = sender.send(manifest);
        }
    }

    /// Whether [`Writer::commit`] was called.
    pub fn is_committed(&self) -> bool {
        self.manifest.is_none()
    }

    /// Whether [`Writer::finish`] would return at once.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until a committed checkpoint is on the disk; one that was not committed is removed.
    ///
    /// # Errors
    /// [`Error::Io`]: the checkpoint is then not there at all.
    pub fn finish(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        (self.tiles, self.manifest) = (None, None);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            Some(Ok(result)) => result,
            None => Ok(()),
        }
    }
}

/// Never fails: a thread that is gone takes no more tiles, and [`Writer::finish`] says why. A step that copies its
/// state must not depend on a disk.
impl StateSink for Writer {
    fn offer(&mut self, tile: Tile) -> Result<Option<Tile>> {
        match self.tiles.as_ref().map(|tiles| tiles.try_send(tile)) {
            Some(Err(TrySendError::Full(tile))) => Ok(Some(tile)),
            _ => Ok(None),
        }
    }

    fn put(&mut self, tile: Tile) -> Result<()> {
        let _ = self.tiles.as_ref().map(|tiles| tiles.send(tile));
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The error that led here matters more than one of a checkpoint that nobody waits for.
        let _ = self.join();
    }
}

/// `state.safetensors` as it grows.
struct StateFile {
    staging: Staging,
    file: TensorWriter,
    tensors: Vec<Tensor>,
}

struct Tensor {
    layout: StateTensor,
    written: u64,
    checksum: Checksum,
}

impl StateFile {
    fn create(staging: Staging, tensors: Vec<StateTensor>) -> Result<Self> {
        let path = staging.path().join(STATE);
        let named: Vec<_> = tensors.iter().map(|tensor| (&tensor.name[..], tensor.dtype, &tensor.shape[..])).collect();
        let file = TensorWriter::create(&path, &named)?;
        let tensors =
            tensors.into_iter().map(|layout| Tensor { layout, written: 0, checksum: Checksum::default() }).collect();
        Ok(Self { staging, file, tensors })
    }

    fn write(mut self, tiles: &Receiver<Tile>, manifest: &Receiver<Manifest>, target: &Path) -> Result<()> {
        for tile in tiles {
            self.write_tile(&tile)?;
        }
        // Whoever drops the writer without a manifest does not want the checkpoint.
        let Ok(mut manifest) = manifest.recv() else { return Ok(()) };
        let incomplete = |(at, tensor): &(usize, &Tensor)| tensor.written != self.file.bytes(*at);
        if let Some((_, Tensor { layout, written, .. })) = self.tensors.iter().enumerate().find(incomplete) {
            return Err(self.refuse(format!("{} is incomplete: {written} bytes of it were given", layout.name)));
        }
        self.file.finish()?;
        let checksum = |tensor: &Tensor| (tensor.layout.name.clone(), tensor.checksum.digest());
        manifest.checksums = self.tensors.iter().map(checksum).collect();
        manifest.write(self.staging.path())?;
        self.staging.commit(target)
    }

    fn write_tile(&mut self, tile: &Tile) -> Result<()> {
        let tensor = &mut self.tensors[tile.tensor];
        let at = tile.first * tensor.layout.row_bytes();
        if at != tensor.written {
            let problem = format!("{} continues at byte {at} after byte {}", tensor.layout.name, tensor.written);
            return Err(self.refuse(problem));
        }
        self.file.write(tile.tensor, at, &tile.bytes)?;
        tensor.checksum.update(&tile.bytes);
        tensor.written += tile.bytes.len() as u64;
        Ok(())
    }

    fn refuse(&self, problem: String) -> Error {
        Error::io(self.file.path())(std::io::Error::other(problem))
    }
}
