//! Where a program is cut into submissions, so that none runs for long.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::{Gpu, Timing};
use crate::error::Result;

/// Longest submission in seconds. Windows resets a device that is busy with one for 2 s; other work may share the
/// device.
const SECONDS: f64 = 0.1;

/// The running times of a program's dispatches, as far as they are known.
#[derive(Default)]
pub(super) struct Pace(Mutex<Knowledge>);

#[derive(Default)]
enum Knowledge {
    #[default]
    Nothing,
    Measured(Timing),
    Submissions(Vec<Range<usize>>),
}

impl Pace {
    /// The operations of each submission, or none as long as that is not known; `dispatches` are the shortest
    /// submissions there can be, and the least seconds that each must be taken to last.
    pub(super) fn submissions(
        &self,
        gpu: &Gpu,
        dispatches: impl Iterator<Item = (Range<usize>, f64)>,
    ) -> Result<Option<Vec<Range<usize>>>> {
        let mut knowledge = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Knowledge::Measured(timing) = &*knowledge
            && timing.is_ready(gpu)?
            && let Knowledge::Measured(timing) = std::mem::take(&mut *knowledge)
        {
            let spans = timing.wait(gpu)?;
            let timed = dispatches.zip(&spans).map(|((range, least), span)| (range, span.seconds().max(least)));
            *knowledge = Knowledge::Submissions(group(timed, SECONDS));
        }
        Ok(match &*knowledge {
            Knowledge::Submissions(submissions) => Some(submissions.clone()),
            _ => None,
        })
    }

    /// True until a run was timed.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), Knowledge::Nothing)
    }

    /// Takes the times of a run.
    pub(super) fn learn(&self, timing: Timing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Knowledge::Measured(timing);
    }
}

/// Joins neighbours as long as they stay within `limit` seconds together.
fn group(dispatches: impl Iterator<Item = (Range<usize>, f64)>, limit: f64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut busy = f64::INFINITY;
    for (dispatch, seconds) in dispatches {
        busy += seconds;
        match groups.last_mut() {
            Some(group) if busy <= limit => group.end = dispatch.end,
            _ => {
                groups.push(dispatch);
                busy = seconds;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::group;

    #[test]
    fn submissions_are_as_long_as_allowed() {
        let dispatches = [0..2, 2..3, 3..4, 4..6, 6..7];
        for (seconds, ends) in [
            ([0.0; 5], &[7][..]),
            ([1.0; 5], &[2, 3, 4, 6, 7]),
            ([0.3, 0.2, 0.1, 0.5, 0.5], &[3, 4, 6, 7]),
            ([9.0, 0.1, 0.1, 0.1, 9.0], &[2, 6, 7]),
        ] {
            let groups = group(dispatches.iter().cloned().zip(seconds), 0.5);
            assert_eq!(groups.iter().map(|group| group.end).collect::<Vec<_>>(), ends, "{seconds:?}");
            assert!(groups.windows(2).all(|pair| pair[0].end == pair[1].start) && groups[0].start == 0);
        }
        assert!(group(std::iter::empty(), 0.5).is_empty());
    }
}
