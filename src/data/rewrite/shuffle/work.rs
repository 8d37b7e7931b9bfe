//! The directory of a shuffle that is not done: its buckets and shards, and how far it is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checksum::RowsChecksum;
use crate::data::rewrite::shards::Sharding;
use crate::data::{FileIdentity, first_difference};
use crate::error::{Error, Result};
use crate::storage::{parent, replace_file, sync_directory};

/// The form of the state and the buckets, and the order that the rows get; another number is another program's.
const FORMAT: u32 = 2;

/// How far a shuffle is, and what it is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    format: u32,
    files: Vec<FileIdentity>,
    seed: u64,
    shard_rows: u64,
    /// Rows that are in the buckets.
    pub read: u64,
    /// Bytes of each bucket.
    pub bucket_bytes: Vec<u64>,
    /// Of the rows that are in the buckets.
    pub checksum: RowsChecksum,
    /// Of each shard that is written.
    pub shards: Vec<RowsChecksum>,
}

impl State {
    /// Nothing done yet.
    pub fn new(files: Vec<FileIdentity>, seed: u64, shard_rows: u64, buckets: usize) -> Self {
        let (checksum, bucket_bytes) = (RowsChecksum::default(), vec![0; buckets]);
        Self { format: FORMAT, files, seed, shard_rows, read: 0, bucket_bytes, checksum, shards: Vec::new() }
    }

    /// Why a shuffle of this state is not the one that is asked for.
    fn difference(&self, wanted: &Self) -> Option<String> {
        if self.format != wanted.format {
            return Some("by another version of monosem".into());
        }
        if let Some(difference) = first_difference(&self.files, &wanted.files) {
            return Some(format!("of other files: {difference}"));
        }
        if self.seed != wanted.seed {
            return Some(format!("under --seed {}", self.seed));
        }
        let is_alike = self.shard_rows == wanted.shard_rows && self.bucket_bytes.len() == wanted.bucket_bytes.len();
        (!is_alike).then(|| format!("under another --memory, with shards of {} rows", self.shard_rows))
    }
}

/// The directory, `.NAME.shuffle` beside the output `NAME`, locked.
#[derive(Debug)]
pub(super) struct WorkDirectory {
    path: PathBuf,
    _lock: File,
}

impl WorkDirectory {
    /// Checks that nothing has the output's name but, at most, what a shuffle left that was killed at its very end.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn check_new(out: &Path) -> Result<()> {
        let is_begun = out.file_name().is_some() && begun(&hidden(out));
        match fs::symlink_metadata(out) {
            Ok(_) if !is_begun => Err(Error::Exists { path: out.to_owned() }),
            Err(_) if out.file_name().is_none() => Err(Error::Exists { path: out.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Begins the directory, or opens it where the same shuffle was begun.
    ///
    /// # Errors
    /// [`Error::Exists`] when something else has the output's name; [`Error::Config`] when another shuffle was begun
    /// there, or is at work; [`Error::Data`] for a damaged state; [`Error::Io`].
    pub fn open(out: &Path, wanted: State) -> Result<(Self, State)> {
        let path = hidden(out);
        let lock = lock(&path, out)?;
        let work = Self { path, _lock: lock };
        let state = match work.read()? {
            Some(state) => {
                if let Some(difference) = state.difference(&wanted) {
                    return Err(Error::Config(format!(
                        "{}: another shuffle was begun there, {difference}; give what it was begun with to continue \
                         it, or remove that directory",
                        shown(&work.path)
                    )));
                }
                state
            }
            None => {
                work.begin(&wanted)?;
                wanted
            }
        };
        if fs::symlink_metadata(out).is_ok() && !work.has_moved(&state, out) {
            return Err(Error::Exists { path: out.to_owned() });
        }
        Ok((work, state))
    }

    fn begin(&self, state: &State) -> Result<()> {
        for directory in [self.path.join("buckets"), self.shards()] {
            // Of a process that was killed before it wrote a state.
            match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(&directory)(error)),
                _ => fs::create_dir(&directory).map_err(Error::io(&directory))?,
            }
        }
        self.write(state)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a bucket.
    pub fn bucket(&self, bucket: u64) -> PathBuf {
        self.path.join("buckets").join(format!("bucket-{bucket:05}"))
    }

    /// The directory of the finished shards.
    pub fn shards(&self) -> PathBuf {
        self.path.join("shards")
    }

    fn read(&self) -> Result<Option<State>> {
        let path = self.path.join("state.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::io(&path))?,
        };
        let state: Option<State> = serde_json::from_slice(&text).ok();
        match state.filter(|state| state.shards.len() <= state.bucket_bytes.len()) {
            Some(state) => Ok(Some(state)),
            None => Err(self.explain(Error::data(&path, "is damaged"))),
        }
    }

    /// Records a state, once the names of its files are on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, state: &State) -> Result<()> {
        sync_directory(&self.path.join("buckets"))?;
        // Numbers and texts have a JSON.
        let json = serde_json::json!(state).to_string();
        replace_file(&self.path.join("state.json"), json.as_bytes())
    }

    /// Takes back what buckets got after the state was recorded.
    ///
    /// # Errors
    /// [`Error::Data`] for a bucket that is shorter than recorded, [`Error::Io`].
    pub fn truncate_buckets(&self, state: &State) -> Result<()> {
        for (bucket, &recorded) in (0..).zip(&state.bucket_bytes) {
            let path = self.bucket(bucket);
            let file = match OpenOptions::new().write(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound && recorded == 0 => continue,
                file => file.map_err(Error::io(&path))?,
            };
            let bytes = file.metadata().map_err(Error::io(&path))?.len();
            if bytes < recorded {
                let problem = format!("has {bytes} bytes, and {recorded} were recorded");
                return Err(self.explain(Error::data(&path, problem)));
            }
            file.set_len(recorded).map_err(Error::io(&path))?;
        }
        Ok(())
    }

    /// Checks that the recorded shards are there.
    ///
    /// # Errors
    /// [`Error::Data`] for one that is not.
    pub fn check_shards(&self, state: &State, sharding: &Sharding) -> Result<()> {
        let paths = (0..state.shards.len() as u64).map(|shard| self.shards().join(sharding.name(shard)));
        match paths.into_iter().find(|path| !path.is_file()) {
            Some(missing) => Err(self.explain(Error::data(missing, "is missing"))),
            None => Ok(()),
        }
    }

    /// Gives the finished shards the output's name.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name was taken meanwhile, [`Error::Io`].
    pub fn move_shards(&self, out: &Path) -> Result<()> {
        if fs::symlink_metadata(out).is_ok() {
            return Err(Error::Exists { path: out.to_owned() });
        }
        sync_directory(&self.shards())?;
        fs::rename(self.shards(), out).map_err(Error::io(out))?;
        sync_directory(parent(out))
    }

    /// Whether the shards have the output's name already.
    pub fn has_moved(&self, state: &State, out: &Path) -> bool {
        state.shards.len() == state.bucket_bytes.len() && !self.shards().exists() && out.is_dir()
    }

    /// Removes what is left of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.path).map_err(Error::io(&self.path))
    }

    /// An error about what is in it, with the way out.
    pub fn explain(&self, error: Error) -> Error {
        match error {
            Error::Data { path, problem } => {
                let cure = format!("the shuffle cannot continue; remove {} and start again", shown(&self.path));
                Error::data(path, format!("{problem}: {cure}"))
            }
            other => other,
        }
    }
}

/// The work directory of an output.
fn hidden(out: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(".shuffle");
    out.with_file_name(name)
}

/// Whether a work directory has a state.
fn begun(path: &Path) -> bool {
    path.join("state.json").exists()
}

/// The lock of a directory, which is made if it is not there.
fn lock(path: &Path, out: &Path) -> Result<File> {
    loop {
        match fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(Error::io(out)(error)),
            _ => {}
        }
        let name = path.join("lock");
        let file = match OpenOptions::new().create(true).truncate(false).write(true).open(&name) {
            // Removed by another process that finished meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => continue,
            file => file.map_err(Error::io(&name))?,
        };
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            let problem = format!("another process is shuffling to {}: wait for it, or name another", shown(out));
            return Err(Error::Config(problem));
        }
        // Some file systems have no locks.
        if name.exists() {
            return Ok(file);
        }
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}
