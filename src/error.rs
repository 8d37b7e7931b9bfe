//! Everything that can go wrong, sorted by who can mend it.

use std::path::{Path, PathBuf};

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. Each variant's message says where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that cannot be used, or two that contradict each other: change the flag or field that the message names.
    #[error("{0}")]
    Config(String),
    /// Activations or weights that are damaged, of another shape, or not finite: the message names file, tensor and row.
    #[error("{}: {problem}", path.escape_debug_display())]
    Data {
        /// The file or directory that holds them.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// No adapter, or not the one that was asked for.
    #[error("{0}")]
    Device(String),
    /// The device could not hold what was asked of it: fewer features, a smaller batch, or a larger device.
    #[error("the device has no room for {what} ({bytes} bytes)")]
    OutOfMemory {
        /// The buffer that did not fit.
        what: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A shader that this device's driver, or naga, refuses: a defect of monosem or of the driver; report it with the message.
    #[error("shader {shader} was refused on this device: {message}")]
    Shader {
        /// The shader's name and entry point.
        shader: String,
        /// What the compiler said.
        message: String,
    },
    /// The device went away (a driver reset, a time-out, an unplugged GPU): nothing more can be computed in this process.
    #[error("the device was lost: {0}")]
    DeviceLost(String),
    /// The training failed: a loss or gradient that is not a finite number. Nothing was updated from that step on.
    #[error("{0}")]
    Diverged(String),
    /// The file system refused.
    #[error("{}: {source}", path.escape_debug_display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
}

impl Error {
    /// The program's exit status for this error: 1 training, 2 usage or configuration, 3 data, 4 device, 5 file system.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Diverged(_) => 1,
            Error::Config(_) => 2,
            Error::Data { .. } => 3,
            Error::Device(_) | Error::OutOfMemory { .. } | Error::Shader { .. } | Error::DeviceLost(_) => 4,
            Error::Io { .. } => 5,
        }
    }

    /// The variant's name for programs that read the error: `config`, `data`, `device`, `out_of_memory`, `shader`,
    /// `device_lost`, `diverged` or `io`.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Config(_) => "config",
            Error::Data { .. } => "data",
            Error::Device(_) => "device",
            Error::OutOfMemory { .. } => "out_of_memory",
            Error::Shader { .. } => "shader",
            Error::DeviceLost(_) => "device_lost",
            Error::Diverged(_) => "diverged",
            Error::Io { .. } => "io",
        }
    }

    /// The error for programs that read it: `{"error": message, "kind": ..., "exit_code": ...}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.to_string(), "kind": self.kind(), "exit_code": self.exit_code() })
    }

    /// A [`Error::Data`] about `path`.
    pub fn data(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Error::Data { path: path.into(), problem: problem.into() }
    }

    /// A function that turns an I/O error at `path` into [`Error::Io`], for `map_err`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { path, source }
    }
}

/// File names are printed escaped: a name may hold control characters.
trait EscapeDebugDisplay {
    fn escape_debug_display(&self) -> String;
}

impl EscapeDebugDisplay for PathBuf {
    fn escape_debug_display(&self) -> String {
        self.to_string_lossy().escape_debug().to_string()
    }
}
