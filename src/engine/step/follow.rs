//! What the programs of a step are recorded for, which changes seldom: those of another k, mode or room are recorded
//! anew.

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

    /// Takes the programs for the last step that was begun: those of another k, mode or room are recorded anew.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] if their constants do not fit, [`crate::Error::Device`].
    pub fn follow(&mut self, gpu: &Gpu) -> Result<()> {
        let step = u64::from(self.taken.saturating_sub(1));
        let k = self.recipe.k_at(step, self.parameters.config()).unwrap_or(0) as u32;
        let recorded = Recorded { finding: Finding { k, screen: self.screen }, dead_room: self.dead_room };
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

/// The rows that are selected again in f32 in the step of this number, to see whether screening found the same: in a
/// long run each of a batch comes to its turn.
fn audited(step: u32, rows: u32) -> Range<u32> {
    if step % AUDIT_STEPS != 1 {
        return 0..0;
    }
    let first = step / AUDIT_STEPS * AUDIT_ROWS % rows;
    first..rows.min(first + AUDIT_ROWS)
}
