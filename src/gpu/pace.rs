//! Where a program is cut into submissions, so that none runs for long.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Gpu, Span, Timing};
use crate::error::Result;

/// Longest submission in seconds, unless one dispatch takes longer. A desktop on the same device waits as long for its
/// next frame, and Windows resets a device that is busy with one for 2 s.
pub const LONGEST_SUBMISSION: f64 = 0.02;

/// The runs of a program that are timed: the first, and one by which the device has warmed up.
const TIMED_RUNS: [u64; 2] = [0, 16];

/// The operations of each submission.
pub(super) type Submissions = Arc<[Range<usize>]>;

/// What is known of the running times of a program's dispatches.
#[derive(Default)]
pub(super) struct Pace(Mutex<Knowledge>);

#[derive(Default)]
struct Knowledge {
    runs: u64,
    /// The times of a run, on their way.
    measured: Option<Timing>,
    /// The seconds of each dispatch in the runs that were timed: the least of them, as something else may have run in
    /// between.
    least: Vec<f64>,
    /// Of how many runs those are, and whether they were handed out.
    timed: usize,
    is_taken: bool,
    submissions: Option<Submissions>,
}

impl Pace {
    /// Counts a run, and tells whether it is one that is to be timed.
    pub(super) fn begin_run(&self) -> bool {
        let mut knowledge = self.knowledge();
        knowledge.runs += 1;
        TIMED_RUNS.contains(&(knowledge.runs - 1))
    }

    /// Takes the times of a run.
    pub(super) fn learn(&self, timing: Timing) {
        self.knowledge().measured = Some(timing);
    }

    /// The submissions, or none as long as no times have arrived. `dispatches` are the shortest ones there can be, and
    /// whether each is in a section.
    pub(super) fn submissions(
        &self,
        gpu: &Gpu,
        dispatches: impl Iterator<Item = (Range<usize>, bool)>,
    ) -> Result<Option<Submissions>> {
        let mut knowledge = self.knowledge();
        let have_arrived = knowledge.measured.as_ref().map_or(Ok(false), |timing| timing.is_ready(gpu))?;
        if let Some(timing) = knowledge.measured.take_if(|_| have_arrived) {
            let seconds: Vec<f64> = timing.wait(gpu)?.iter().map(Span::seconds).collect();
            knowledge.submissions = Some(group(expected(dispatches, &seconds), LONGEST_SUBMISSION).into());
            knowledge.learn(seconds);
        }
        Ok(knowledge.submissions.clone())
    }

    /// The seconds of each dispatch, once, after the last run that is timed.
    pub(super) fn take_seconds(&self) -> Option<Vec<f64>> {
        let mut knowledge = self.knowledge();
        if knowledge.timed < TIMED_RUNS.len() || knowledge.is_taken {
            return None;
        }
        knowledge.is_taken = true;
        Some(knowledge.least.clone())
    }

    fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Knowledge {
    fn learn(&mut self, seconds: Vec<f64>) {
        self.timed += 1;
        self.least = match self.timed {
            1 => seconds,
            _ => self.least.iter().zip(seconds).map(|(least, now)| least.min(now)).collect(),
        };
    }
}

/// The seconds that each dispatch is taken to last, by those of a run. A section may have been left out of it and be
/// there in the next one: its dispatches are taken to last as long as the longest of all.
fn expected(
    dispatches: impl Iterator<Item = (Range<usize>, bool)>,
    seconds: &[f64],
) -> impl Iterator<Item = (Range<usize>, f64)> {
    let longest = seconds.iter().copied().fold(0.0, f64::max);
    let each = dispatches.zip(seconds);
    each.map(move |((range, in_section), seconds)| (range, if in_section { longest } else { *seconds }))
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
    use super::*;

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

    #[test]
    fn a_section_is_cut_by_the_longest_dispatch_whether_it_ran_or_not() {
        let dispatches = [(0..1, false), (1..2, true), (2..4, true), (4..5, false), (5..6, true)];
        let expected: Vec<_> = expected(dispatches.into_iter(), &[0.25, 0.0, 0.125, 0.5, 0.0]).collect();
        assert_eq!(expected, [(0..1, 0.25), (1..2, 0.5), (2..4, 0.5), (4..5, 0.5), (5..6, 0.5)]);
    }

    #[test]
    fn the_least_seconds_of_all_timed_runs_are_handed_out_once() {
        let pace = Pace::default();
        pace.knowledge().learn(vec![0.5, 0.1, 0.0]);
        assert_eq!(pace.take_seconds(), None);
        pace.knowledge().learn(vec![0.2, 0.9, 0.3]);
        assert_eq!(pace.take_seconds(), Some(vec![0.2, 0.1, 0.0]));
        assert_eq!(pace.take_seconds(), None);
    }

    #[test]
    fn the_first_run_is_timed_and_one_later() {
        let pace = Pace::default();
        let timed: Vec<usize> = (0..100).filter(|_| pace.begin_run()).collect();
        assert_eq!(timed, [0, 16]);
    }
}
