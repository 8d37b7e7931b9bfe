//! Where a real run's time went.

use std::collections::BTreeMap;

use crate::gpu::Span;

/// The device's time over the steps that were timed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Steps that were timed.
    pub steps: u64,
    /// Seconds of each operation.
    pub operations: BTreeMap<String, f64>,
    /// Seconds in which the device waited: between the dispatches of a step, and from one timed step to the next.
    pub idle: f64,
    /// When the step before ended, if that was timed too.
    last: Option<f64>,
}

impl Profile {
    /// Adds a step.
    pub(super) fn add(&mut self, spans: &[Span]) {
        self.steps += 1;
        for span in spans {
            *self.operations.entry(span.operation().to_owned()).or_default() += span.seconds();
            self.idle += self.last.map_or(0.0, |last| (span.begin - last).max(0.0));
            self.last = Some(span.end);
        }
    }

    /// Leaves out what happens until the next timed step.
    pub(super) fn interrupt(&mut self) {
        self.last = None;
    }

    /// Seconds in which the device worked.
    pub fn busy(&self) -> f64 {
        self.operations.values().sum()
    }

    /// The share of the time in which the device waited.
    pub fn idle_share(&self) -> f64 {
        let all = self.busy() + self.idle;
        if all > 0.0 { self.idle / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kernel: &str, begin: f64, end: f64) -> Span {
        Span { kernel: kernel.into(), begin, end }
    }

    #[test]
    fn gaps_within_and_between_timed_steps_are_idle() {
        let mut profile = Profile::default();
        profile.add(&[span("encode.main", 1.0, 3.0), span("select.main", 3.5, 4.0)]);
        profile.add(&[span("encode.main", 5.0, 7.0)]);
        profile.interrupt();
        profile.add(&[span("encode.main", 100.0, 102.0)]);
        assert_eq!(profile.operations, BTreeMap::from([("encode".into(), 6.0), ("select".into(), 0.5)]));
        assert_eq!((profile.steps, profile.idle, profile.busy()), (3, 1.5, 6.5));
        assert_eq!(profile.idle_share(), 1.5 / 8.0);
        assert_eq!(Profile::default().idle_share(), 0.0);
    }
}
