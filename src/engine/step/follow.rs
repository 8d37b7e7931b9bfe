//! What the programs of a step are recorded for, which changes seldom: those of another k, mode or room are recorded
//! anew.

use std::ops::Range;

use super::TrainingStep;
use crate::engine::dead::room_for;
use crate::engine::forward::Finding;
use crate::engine::select::ScreenMode;
use crate::error::Result;
use crate::gpu::{Gpu, LONGEST_SUBMISSION};

/// What the programs of a step are recorded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pub finding: Finding,
    /// Dead features that can be worked on.
    pub dead_room: u32,
}

/// So many leave chunks of as few features as there can be.
const MOST_HALVINGS: u32 = 10;

/// Steps from one audit of the screening to the next, and rows that are looked at.
pub(super) const AUDIT_STEPS: u32 = 256;
const AUDIT_ROWS: u32 = 8;

impl TrainingStep {
    /// From the next step on, screening is gone by so far; owners that share a model go by it completely.
    pub fn set_screen(&mut self, screen: ScreenMode) {
        self.screen = screen;
    }

    /// From the next step on, there is room for the dead features that these many let expect; owners that share a model
    /// have room for all.
    pub fn make_room_for_dead(&mut self, dead: u32) {
        self.dead_room = room_for(dead, self.dead_room, self.parameters.features());
    }

    /// From the next step on, the chunks of features are halved so many times. No result depends on it.
    #[doc(hidden)]
    pub fn halve_chunks(&mut self, times: u32) {
        self.halvings = times.min(MOST_HALVINGS);
    }

    /// Halves the chunks whose dispatches were measured to last longer than a submission should. On the CPU nothing
    /// else waits for them.
    fn halve_long_chunks(&mut self, gpu: &Gpu) {
        let is_of_chunk = |kernel: &str| kernel.starts_with("encode") || kernel.starts_with("screen");
        if gpu.description().is_software() {
            return;
        }
        let Some(seconds) = self.programs.take_longest(is_of_chunk).filter(|seconds| halvings(*seconds) > 0) else {
            return;
        };
        self.halve_chunks(self.recorded.finding.halvings + halvings(seconds));
        if self.halvings != self.recorded.finding.halvings {
            log::debug!("a chunk of features takes {:.0} ms: halved {} times in all", 1e3 * seconds, self.halvings);
        }
    }

    /// Takes the programs for the last step that was begun: those of another k, mode or room are recorded anew.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if their constants do not fit, [`crate::Error::Device`].
    pub fn follow(&mut self, gpu: &Gpu) -> Result<()> {
        let step = u64::from(self.taken.saturating_sub(1));
        let k = self.recipe.k_at(step, self.parameters.config()).unwrap_or(0) as u32;
        self.halve_long_chunks(gpu);
        let finding = Finding { k, screen: self.screen, halvings: self.halvings };
        let recorded = Recorded { finding, dead_room: self.dead_room };
        if recorded != self.recorded {
            let before = std::mem::replace(&mut self.recorded, recorded);
            if k != before.finding.k {
                self.forward.entries.set_per_row(gpu, self.forward.rows(), k);
            }
            let programs = self.stages(None).programs(gpu)?;
            std::mem::replace(&mut self.programs, programs).hand_pace_to(&mut self.programs);
        }
        let audited = audited(self.taken, self.forward.rows());
        if audited != self.audited {
            self.forward.selector().audit(gpu, audited.clone());
            self.audited = audited;
        }
        Ok(())
    }
}

/// How many times a dispatch of so many seconds is to be halved. What is up to twice too long stays: halves take longer
/// together.
fn halvings(seconds: f64) -> u32 {
    (seconds / LONGEST_SUBMISSION).log2().floor().max(0.0) as u32
}

/// The rows that are selected again in f32 in the step of this number, to see whether screening found the same: in a
/// long run each of a batch comes to its turn.
fn audited(step: u32, rows: u32) -> Range<u32> {
    if step % AUDIT_STEPS != 1 {
        return 0..0;
    }
    let first = step / AUDIT_STEPS * AUDIT_ROWS % rows;
    first..rows.min(first + AUDIT_ROWS)
}

#[cfg(test)]
mod tests {
    use super::halvings;

    #[test]
    fn a_dispatch_is_halved_until_it_lasts_less_than_two_submissions() {
        for (milliseconds, expected) in [(0.0, 0), (19.0, 0), (39.0, 0), (41.0, 1), (79.0, 1), (81.0, 2), (1500.0, 6)] {
            assert_eq!(halvings(milliseconds / 1e3), expected, "{milliseconds} ms");
        }
    }
}
