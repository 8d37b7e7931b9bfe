//! What a run has recorded, step by step.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::checkpoint::{self, Reader};
use crate::error::{Error, Result};
use crate::sae::FeatureDensity;

/// The curves of a run, finished or not.
#[derive(Debug)]
pub struct Curves {
    /// The lines of metrics.jsonl (docs/metrics.md).
    metrics: Vec<Value>,
    /// How often features fired up to the newest intact checkpoint; none if there is none.
    pub density: Option<FeatureDensity>,
}

impl Curves {
    /// Reads the metrics of the run in `directory`, and the counters of its newest intact checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] when metrics.jsonl cannot be read, [`Error::Data`] if there is none, for a line that is not one of
    /// metrics, or for a run without any.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("metrics.jsonl");
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::data(directory, "has no metrics.jsonl: name the directory of a run"),
            ErrorKind::InvalidData => Error::data(&path, "is not text"),
            _ => Error::io(&path)(error),
        })?;
        // A running run may be in the middle of its last line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let metrics = whole.lines().enumerate().map(|(number, line)| match serde_json::from_str::<Value>(line) {
            Ok(metrics) if metrics["step"].is_u64() => Ok(metrics),
            _ => Err(Error::data(&path, format!("line {} is not a step's metrics", number + 1))),
        });
        let metrics: Vec<Value> = metrics.collect::<Result<_>>()?;
        if metrics.is_empty() {
            return Err(Error::data(&path, "has no metrics yet; the run logs the first after `log-every` steps"));
        }
        Ok(Self { metrics, density: newest_density(directory)? })
    }

    /// A metric by steps, where it is a number.
    pub fn metric(&self, name: &str) -> Vec<(f64, f64)> {
        let point = |line: &Value| Some((line["step"].as_f64()?, line[name].as_f64()?));
        self.metrics.iter().filter_map(point).collect()
    }
}

fn newest_density(directory: &Path) -> Result<Option<FeatureDensity>> {
    for (_, path) in checkpoint::list(&directory.join("checkpoints"))?.into_iter().rev() {
        match Reader::open(&path).and_then(|mut reader| reader.density()) {
            Err(error) if checkpoint::is_damage(&error) => {}
            density => return density.map(Some),
        }
    }
    Ok(None)
}
