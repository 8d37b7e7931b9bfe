//! Everything that can go wrong, sorted by who can mend it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::units::readable_bytes;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error. Each variant's message says where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that cannot be used, or two that contradict each other: change the flag or field that the message names.
    #[error("{0}")]
    Config(String),
    /// A file or directory that would be overwritten: name a new one.
    #[error("{} exists, and nothing is overwritten: name a new one", path.escape_debug_display())]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// A batch that needs more rows than there are: make it smaller, or give more data.
    #[error(
        "a batch of {batch} rows needs at least as many rows of data, and there are {rows}: make the batch smaller or \
             give more data"
    )]
    BatchTooLarge {
        /// Rows of a batch.
        batch: u64,
        /// Rows of the data.
        rows: u64,
    },
    /// A buffer that no shader of this device could bind: make the batch smaller.
    #[error("{what} would take {}, more than the {} that a shader can bind on this device: make the batch smaller",
            readable_bytes(*bytes), readable_bytes(*limit))]
    BindingTooLarge {
        /// The buffer's name.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// The largest binding in bytes.
        limit: u64,
    },
    /// Activations or weights that are damaged, of another shape, or not finite: the message names file, tensor and
    /// row.
    #[error("{}: {problem}", path.escape_debug_display())]
    Data {
        /// The file or directory that holds them.
        path: PathBuf,
        /// The problem, and what to do.
        problem: String,
    },
    /// No adapter, or none that fits what was asked for.
    #[error("{problem}{}", listed(found))]
    NoDevice {
        /// The device that was asked for, and what helps.
        problem: String,
        /// The adapters that there are, a line each.
        found: Vec<String>,
    },
    /// Several adapters have the name that was asked for: choose by index or PCI bus id.
    #[error("'{name}' fits several devices; give an index or a PCI bus id{}", listed(fitting))]
    AmbiguousDevice {
        /// The name, escaped.
        name: String,
        /// The adapters that it fits, a line each.
        fitting: Vec<String>,
    },
    /// An adapter whose driver does not open it.
    #[error("{device} cannot be opened: {problem}")]
    DeviceRefused {
        /// The adapter.
        device: String,
        /// The driver's reason.
        problem: String,
    },
    /// The device cannot do what was asked of it, for the reason in the message.
    #[error("{0}")]
    Device(String),
    /// The device could not hold what was asked of it: fewer features, a smaller batch, or a larger device.
    #[error("the device has no room for {what} ({}): take fewer features, a smaller batch, or a larger device",
            readable_bytes(*bytes))]
    OutOfMemory {
        /// The buffer that did not fit.
        what: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A shader that this device's driver, or naga, refuses: a defect of monosem or of the driver; report it with the
    /// message.
    #[error("shader {shader} was refused on this device: {message}")]
    Shader {
        /// The shader's name and entry point.
        shader: String,
        /// The compiler's message.
        message: String,
    },
    /// The device went away (a driver reset, a time-out, an unplugged GPU): nothing more can be computed in this
    /// process.
    #[error("the device was lost: {0}")]
    DeviceLost(String),
    /// A number that is not finite. In training, nothing was updated from that step on, unless the number is a
    /// parameter that the step's own update made so: what is sound is then the last checkpoint.
    #[error("{}", describe_divergence(*step, *row, file.as_deref(), *what))]
    Diverged {
        /// The step, the first being 1; none outside training.
        step: Option<u64>,
        /// The row's number in `file`, or in its batch if there is none; none if no single row is to blame.
        row: Option<u64>,
        /// The file that holds the row, where it is known.
        file: Option<PathBuf>,
        /// The number.
        what: Divergence,
    },
    /// The file system refused.
    #[error("{}: {source}{}", path.escape_debug_display(), io_cure(source))]
    Io {
        /// The file that was being read or written.
        path: PathBuf,
        /// The system's own error.
        source: std::io::Error,
    },
}

impl Error {
    /// The program's exit status for this error: 1 training, 2 usage or configuration, 3 data, 4 device, 5 file system.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Diverged { .. } => 1,
            Error::Config(_) | Error::Exists { .. } | Error::BatchTooLarge { .. } | Error::BindingTooLarge { .. } => 2,
            Error::Data { .. } => 3,
            Error::NoDevice { .. }
            | Error::AmbiguousDevice { .. }
            | Error::DeviceRefused { .. }
            | Error::Device(_)
            | Error::OutOfMemory { .. }
            | Error::Shader { .. }
            | Error::DeviceLost(_) => 4,
            Error::Io { .. } => 5,
        }
    }

    /// The variant's name in snake case, for programs that read the error: `config`, `out_of_memory`, `diverged`, ...
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Config(_) => "config",
            Error::Exists { .. } => "exists",
            Error::BatchTooLarge { .. } => "batch_too_large",
            Error::BindingTooLarge { .. } => "binding_too_large",
            Error::Data { .. } => "data",
            Error::NoDevice { .. } => "no_device",
            Error::AmbiguousDevice { .. } => "ambiguous_device",
            Error::DeviceRefused { .. } => "device_refused",
            Error::Device(_) => "device",
            Error::OutOfMemory { .. } => "out_of_memory",
            Error::Shader { .. } => "shader",
            Error::DeviceLost(_) => "device_lost",
            Error::Diverged { .. } => "diverged",
            Error::Io { .. } => "io",
        }
    }

    /// The error about a row of a batch with its place among all rows, so many of which came before the batch.
    pub(crate) fn after_rows(self, before: u64) -> Self {
        match self {
            Error::Diverged { step, row: Some(row), file: None, what } => {
                Error::Diverged { step, row: Some(before + row), file: None, what }
            }
            other => other,
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

/// A number that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Divergence {
    /// A value of the input.
    InputNotFinite,
    /// A row's squared error.
    LossNotFinite,
    /// A code of a row.
    CodeNotFinite,
    /// The norm of the gradient.
    GradientNotFinite,
    /// A parameter, after the step.
    ParameterNotFinite,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InputNotFinite => "a value is not finite",
            Self::LossNotFinite => "the loss is not finite",
            Self::CodeNotFinite => "a code is not finite",
            Self::GradientNotFinite => "the gradient is not finite",
            Self::ParameterNotFinite => "the update left a parameter that is not finite",
        })
    }
}

fn describe_divergence(step: Option<u64>, row: Option<u64>, file: Option<&Path>, what: Divergence) -> String {
    let step_prefix = step.map(|step| format!("step {step}: ")).unwrap_or_default();
    let whole = file.map_or("the batch".to_owned(), |file| file.to_string_lossy().escape_debug().to_string());
    let row = row.map(|row| format!("row {row} of {whole}: ")).unwrap_or_default();
    let cure = match (what, step) {
        (Divergence::InputNotFinite, _) => "remove or recompute the row",
        (Divergence::ParameterNotFinite, _) => "lower the learning rate, and resume from the last checkpoint",
        // No update was made yet.
        (_, Some(1)) => "the activations are too large for f32: scale them down, or leave rows of extreme norm out",
        (_, Some(_)) => "lower the learning rate, or leave rows of extreme norm out",
        (_, None) => "its values are too large for f32; leave rows of extreme norm out",
    };
    format!("{step_prefix}{row}{what}: {cure}")
}

/// Adapters, a line each, below a problem.
fn listed(adapters: &[String]) -> String {
    match adapters {
        [] => String::new(),
        adapters => format!("; devices:\n  {}", adapters.join("\n  ")),
    }
}

/// What helps against an error of the system, where that does not say it.
fn io_cure(error: &std::io::Error) -> &'static str {
    /// As Linux, macOS and the BSDs have it.
    const EMFILE: i32 = 24;
    match error.raw_os_error() {
        Some(EMFILE) if cfg!(unix) => {
            ": that is this process's limit on open files (`ulimit -n` prints it); raise it, e.g. `ulimit -n 4096`"
        }
        _ => "",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_was_wrong_and_what_helps() {
        for (error, message) in [
            (
                Error::Diverged { step: Some(310), row: Some(7), file: None, what: Divergence::LossNotFinite },
                "step 310: row 7 of the batch: the loss is not finite: lower the learning rate, or leave rows of \
                 extreme norm out",
            ),
            (
                Error::Diverged { step: Some(1), row: None, file: None, what: Divergence::GradientNotFinite },
                "step 1: the gradient is not finite: the activations are too large for f32: scale them down, or leave \
                 rows of extreme norm out",
            ),
            (
                Error::Diverged {
                    step: Some(310),
                    row: Some(7),
                    file: Some("a\n".into()),
                    what: Divergence::LossNotFinite,
                },
                "step 310: row 7 of a\\n: the loss is not finite: lower the learning rate, or leave rows of extreme \
                 norm out",
            ),
            (
                Error::Diverged { step: None, row: Some(7), file: None, what: Divergence::LossNotFinite },
                "row 7 of the batch: the loss is not finite: its values are too large for f32; leave rows of extreme \
                 norm out",
            ),
            (
                Error::Diverged { step: None, row: Some(7), file: None, what: Divergence::InputNotFinite },
                "row 7 of the batch: a value is not finite: remove or recompute the row",
            ),
            (
                Error::NoDevice { problem: "there is no device 9".into(), found: vec!["0: a".into(), "1: b".into()] },
                "there is no device 9; devices:\n  0: a\n  1: b",
            ),
            (
                Error::OutOfMemory { what: "W_enc".into(), bytes: 24 << 30 },
                "the device has no room for W_enc (24.00 GiB): take fewer features, a smaller batch, or a larger \
                 device",
            ),
            #[cfg(unix)]
            (
                Error::io("a")(std::io::Error::from_raw_os_error(24)),
                "a: Too many open files (os error 24): that is this process's limit on open files (`ulimit -n` prints \
                 it); raise it, e.g. `ulimit -n 4096`",
            ),
            (Error::Exists { path: "a\n".into() }, "a\\n exists, and nothing is overwritten: name a new one"),
        ] {
            assert_eq!(error.to_string(), message);
        }
    }
}
