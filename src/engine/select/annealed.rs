//! A k that falls: by chunks while it is above the SAE's own, then by the method that was chosen for that.

use std::ops::Range;

use super::chunked::Chunked;
use super::{Inputs, SelectionMethod, Selector};
use crate::gpu::{Buffer, Gpu, Recording};

pub(super) struct Annealed {
    pub falling: Chunked,
    pub fixed: Box<dyn Selector>,
    /// The SAE's.
    pub k: u32,
}

impl Selector for Annealed {
    fn record(&self, recording: &mut Recording, inputs: &Inputs<'_>) {
        if inputs.k > self.k {
            recording.clear(self.fixed.uncertain());
            self.falling.record(recording, inputs);
        } else {
            self.fixed.record(recording, inputs);
        }
    }

    fn method(&self) -> SelectionMethod {
        self.fixed.method()
    }

    fn uncertain(&self) -> &Buffer {
        self.fixed.uncertain()
    }

    fn audit(&self, gpu: &Gpu, rows: Range<u32>) {
        self.fixed.audit(gpu, rows);
    }
}
