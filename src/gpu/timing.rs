//! How long dispatches take, on the device's own clock.

use std::sync::Arc;

use super::{Gpu, Pending};
use crate::error::Result;

/// The time that a dispatch took.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The operation and its entry point, as `encode.main`.
    pub kernel: Arc<str>,
    /// Seconds on the device's clock.
    pub begin: f64,
    /// Seconds on the device's clock.
    pub end: f64,
}

impl Span {
    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.end - self.begin
    }

    /// The operation alone, as `encode`.
    pub fn operation(&self) -> &str {
        self.kernel.split('.').next().unwrap_or_default()
    }
}

/// The times of a program's dispatches, on their way.
pub struct Timing {
    pub(super) ticks: Pending,
    pub(super) labels: Vec<Arc<str>>,
}

impl Timing {
    /// True once they have arrived; never waits.
    pub(super) fn is_ready(&self, gpu: &Gpu) -> Result<bool> {
        self.ticks.is_ready(gpu)
    }

    /// Waits for them.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`] or [`crate::Error::Device`] if the device has failed.
    pub fn wait(self, gpu: &Gpu) -> Result<Vec<Span>> {
        let ticks: Vec<[u64; 2]> = self.ticks.wait(gpu)?.words_as();
        let period = f64::from(gpu.hardware()?.queue.get_timestamp_period()) * 1e-9;
        let spans = self.labels.into_iter().zip(ticks).map(|(kernel, [begin, end])| Span {
            kernel,
            begin: begin as f64 * period,
            end: end.max(begin) as f64 * period,
        });
        Ok(spans.collect())
    }
}
