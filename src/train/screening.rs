//! How far training goes by f16 screening, from what it has seen of it. No result depends on it.

use crate::engine::select::{ScreenMode, SelectionMethod};

/// Steps whose uncertain ones are counted together.
const WINDOW: u32 = 64;

/// In a window with more uncertain steps than these, more groups are scored: a step whose uncertain rows are selected
/// again takes some three hundredths of a selection in f32 longer.
const MOST_UNCERTAIN: u32 = 4;

/// Windows without an uncertain step after which fewer groups are scored.
const CERTAIN_WINDOWS: u32 = 4;

/// Steps in f32 after a batch with too many uncertain rows, the first time; each time after it twice as many.
const FIRST_PAUSE: u64 = 256;
const LONGEST_PAUSE: u64 = 1 << 16;

/// The number of groups that are scored, and whether any are.
pub(super) struct ScreeningPolicy {
    groups: u32,
    /// So few were once too few.
    least: u32,
    most: u32,
    steps: u32,
    uncertain: u32,
    certain_windows: u32,
    pause: u64,
    /// The step before which nothing is screened.
    resumes_at: u64,
}

impl ScreeningPolicy {
    /// Begins with the groups of the method; none if it screens nothing.
    pub fn new(method: SelectionMethod, k: usize) -> Option<Self> {
        let SelectionMethod::Screened { groups, .. } = method else { return None };
        Some(Self {
            groups,
            least: (k as u32 + 1).min(groups),
            most: 2 * groups,
            steps: 0,
            uncertain: 0,
            certain_windows: 0,
            pause: FIRST_PAUSE,
            resumes_at: 0,
        })
    }

    /// Of the step after `taken` steps.
    pub fn mode(&self, taken: u64) -> ScreenMode {
        if taken < self.resumes_at { ScreenMode::Off } else { ScreenMode::Optimistic { groups: self.groups } }
    }

    /// Takes note of a finished step that was screened.
    pub fn finished(&mut self, is_uncertain: bool) {
        self.steps += 1;
        self.uncertain += u32::from(is_uncertain);
        if self.uncertain > MOST_UNCERTAIN {
            self.groups = (self.groups + self.groups.div_ceil(8)).min(self.most);
            (self.least, self.certain_windows) = (self.groups, 0);
        } else if self.steps < WINDOW {
            return;
        } else if self.uncertain > 0 {
            self.certain_windows = 0;
        } else {
            self.certain_windows += 1;
        }
        if self.certain_windows == CERTAIN_WINDOWS {
            self.groups = (self.groups - self.groups / 16).max(self.least);
            self.certain_windows = 0;
        }
        (self.steps, self.uncertain) = (0, 0);
    }

    /// Takes note of a step, after `taken` steps, with more uncertain rows than there is room to select again; gives the
    /// number of steps, from that one on, that are not screened.
    pub fn gives_way(&mut self, taken: u64) -> u64 {
        let pause = self.pause;
        self.resumes_at = taken + pause;
        self.pause = (2 * pause).min(LONGEST_PAUSE);
        (self.groups, self.least) = (self.most, self.most);
        (self.steps, self.uncertain, self.certain_windows) = (0, 0, 0);
        pause
    }

    /// Whether it has given way before.
    pub fn has_given_way(&self) -> bool {
        self.pause > FIRST_PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::ScreenVariant;

    fn policy() -> ScreeningPolicy {
        let method = SelectionMethod::Screened { variant: ScreenVariant::Portable, groups: 54 };
        assert!(ScreeningPolicy::new(SelectionMethod::Chunked, 32).is_none());
        ScreeningPolicy::new(method, 32).unwrap()
    }

    fn groups(policy: &ScreeningPolicy) -> u32 {
        let ScreenMode::Optimistic { groups } = policy.mode(u64::MAX) else { panic!("it does not screen") };
        groups
    }

    #[test]
    fn groups_become_fewer_until_they_are_too_few_and_no_fewer_after_that() {
        let mut policy = policy();
        // Rows that 45 groups are enough for.
        let mut seen = Vec::new();
        for _ in 0..10_000 {
            policy.finished(groups(&policy) < 45);
            seen.push(groups(&policy));
        }
        assert_eq!(seen[..255], [54; 255]);
        assert_eq!(seen[255], 51);
        let fewest = *seen.iter().min().unwrap();
        assert!((40..45).contains(&fewest), "{fewest}");
        let enough = *seen.last().unwrap();
        assert!((45..=50).contains(&enough), "{enough}");
        let last_change = seen.windows(2).rposition(|pair| pair[0] != pair[1]).unwrap();
        assert!(last_change < 2000, "{last_change}");
    }

    #[test]
    fn a_step_in_sixteen_may_be_uncertain_and_no_more() {
        let mut seldom = policy();
        (0..6400).for_each(|step| seldom.finished(step % 16 == 0));
        assert_eq!(groups(&seldom), 54);
        let mut often = policy();
        (0..6400).for_each(|step| often.finished(step % 8 == 0));
        assert_eq!(groups(&often), 108);
    }

    #[test]
    fn after_too_many_uncertain_rows_it_waits_twice_as_long_each_time() {
        let mut policy = policy();
        assert!(!policy.has_given_way());
        assert_eq!(policy.gives_way(10), 256);
        assert_eq!([10, 265, 266].map(|taken| policy.mode(taken) == ScreenMode::Off), [true, true, false]);
        assert_eq!((groups(&policy), policy.has_given_way()), (108, true));
        assert_eq!(policy.gives_way(300), 512);
        let pauses: Vec<u64> = (0..20).map(|time| policy.gives_way(time)).collect();
        assert_eq!((pauses[0], pauses[19]), (1024, 1 << 16));
    }
}
