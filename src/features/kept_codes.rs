//! Codes of all rows, kept while they fit the memory: then no row is encoded again.

use crate::apply::HostCodes;

/// The codes of rows that were encoded, in their order; nothing once they take more than their room.
#[derive(Debug, Default)]
pub struct KeptCodes {
    room: u64,
    batches: Vec<(Vec<u64>, HostCodes)>,
    is_full: bool,
}

impl KeptCodes {
    /// In so many bytes.
    pub fn new(room: u64) -> Self {
        Self { room, ..Self::default() }
    }

    /// Adds the codes of the rows of these numbers.
    pub fn add(&mut self, numbers: Vec<u64>, codes: HostCodes) {
        let bytes = 8 * (numbers.len() + codes.starts.len() + codes.values.len()) as u64;
        if self.is_full || bytes > self.room {
            *self = Self { is_full: true, ..Self::default() };
            return;
        }
        self.room -= bytes;
        self.batches.push((numbers, codes));
    }

    /// The numbers and codes of all rows, batch by batch; none if they are not all there.
    pub fn all(&self) -> Option<&[(Vec<u64>, HostCodes)]> {
        (!self.is_full).then_some(&self.batches)
    }
}
