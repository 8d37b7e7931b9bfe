//! Programs on their way to the device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::device::{Hardware, Wait};
use super::{Buffer, Gpu, Pending, Program};
use crate::error::Result;

/// When [`Gpu::submit_with_pauses`] pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Before the mark of this number.
    Mark(usize),
    /// While the device is busy.
    Busy,
}

/// Submissions that wait for the device while it is busy with one.
const SUBMISSIONS_AHEAD: usize = 2;

impl Gpu {
    /// Runs a program after everything submitted before it, without waiting for it.
    ///
    /// # Errors
    /// [`crate::Error::DeviceLost`] or [`crate::Error::Device`] if the device has failed by now.
    pub fn submit(&self, program: &Program) -> Result<()> {
        self.submit_and_read(program, &[]).map(drop)
    }

    /// As [`Gpu::submit`]; what `results` hold afterwards can be fetched from the returned [`Pending`].
    ///
    /// # Errors
    /// As [`Gpu::submit`], and [`crate::Error::OutOfMemory`] if there is no room for the results.
    pub fn submit_and_read(&self, program: &Program, results: &[&Buffer]) -> Result<Pending> {
        self.check()?;
        self.hardware()?;
        let is_timed = program.pace.begin_run() && self.has_timestamps() && program.has_dispatches();
        if is_timed {
            program.pace.learn(self.submit_timed(program)?);
            return self.read_all(results);
        }
        let submissions = program.submissions(self)?;
        for operations in submissions.as_deref().unwrap_or(&program.dispatches) {
            self.submit_operations(program, operations.clone())?;
        }
        self.read_all(results)
    }

    /// As [`Gpu::submit_and_read`], but lets the caller do something meanwhile: `pause` is called before the operations
    /// after each mark are submitted, and again and again while the device is busy with the ones before.
    ///
    /// # Errors
    /// As [`Gpu::submit_and_read`], and those of `pause`.
    pub fn submit_with_pauses(
        &self,
        program: &Program,
        results: &[&Buffer],
        mut pause: impl FnMut(Pause) -> Result<()>,
    ) -> Result<Pending> {
        self.check()?;
        let Hardware { queue, .. } = self.hardware()?;
        let mut marks = program.marks.iter().enumerate().peekable();
        let mut busy = VecDeque::new();
        for operations in program.dispatches.iter().cloned() {
            while let Some((mark, _)) = marks.next_if(|(_, at)| **at < operations.end) {
                pause(Pause::Mark(mark))?;
            }
            self.submit_operations(program, operations)?;
            let done = Arc::new(AtomicBool::new(false));
            let signal = done.clone();
            queue.on_submitted_work_done(move || signal.store(true, Ordering::Release));
            busy.push_back(done);
            while busy.len() > SUBMISSIONS_AHEAD {
                if busy[0].load(Ordering::Acquire) {
                    busy.pop_front();
                } else {
                    pause(Pause::Busy)?;
                    self.poll(Wait::Nothing)?;
                    self.check()?;
                }
            }
        }
        self.read_all(results)
    }
}
