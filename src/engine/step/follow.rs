//! What the programs of a step are recorded for, which changes seldom: those of another k, mode, room or size of chunks
//! are recorded anew.

use std::ops::Range;

use super::TrainingStep;
use crate::engine::dead::room_for;
use crate::engine::forward::Finding;
use crate::engine::select::ScreenMode;
use crate::error::Result;
use crate::gpu::Gpu;

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

    /// Chunks are halved whose dispatches are measured to take twice as many seconds.
    #[doc(hidden)]
    pub fn halve_chunks_by_time(&mut self, seconds: f64) {
        self.longest_chunk = Some(seconds);
    }

    fn halve_long_chunks(&mut self) {
        let Some(limit) = self.longest_chunk else { return };
        let Some(seconds) = self.programs.take_longest(is_of_chunk) else { return };
        let times = halvings(seconds / limit);
        if times > 0 {
            log::debug!("a chunk of features takes {:.0} ms and is halved {times} times", 1e3 * seconds);
            self.halve_chunks(self.recorded.finding.halvings + times);
        }
    }

    /// Takes the programs for the last step that was begun: those of another k, mode, room or size of chunks are
    /// recorded anew.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if their constants do not fit, [`crate::Error::Device`].
    pub fn follow(&mut self, gpu: &Gpu) -> Result<()> {
        let step = u64::from(self.taken.saturating_sub(1));
        let k = self.recipe.k_at(step, self.parameters.config()).unwrap_or(0) as u32;
        self.halve_long_chunks();
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

/// Whether this kernel computes with the weights of a chunk.
fn is_of_chunk(kernel: &str) -> bool {
    kernel.starts_with("encode") || kernel.starts_with("screen")
}

/// How many times a dispatch that is so many times too long is to be halved. What is up to twice too long stays: halves
/// take longer together.
fn halvings(too_long: f64) -> u32 {
    too_long.log2().floor().max(0.0) as u32
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
    fn a_dispatch_is_halved_until_it_is_less_than_twice_too_long() {
        for (too_long, expected) in [(0.0, 0), (0.9, 0), (1.9, 0), (2.1, 1), (3.9, 1), (4.1, 2), (75.0, 6)] {
            assert_eq!(halvings(too_long), expected, "{too_long}");
        }
    }
}
