//! Decoded row groups, of which those that were read last are kept.

use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes that are kept, or one group if that is larger.
const MAX_BYTES: usize = 1 << 30;

/// Values by column and row group, those that were read last at the end.
#[derive(Debug, Default)]
pub(super) struct Cache {
    groups: VecDeque<(Key, Arc<Vec<u8>>)>,
    bytes: usize,
}

/// A column and a row group.
pub(super) type Key = (usize, usize);

impl Cache {
    pub(super) fn find(&mut self, key: Key) -> Option<Arc<Vec<u8>>> {
        let place = self.groups.iter().position(|(known, _)| *known == key)?;
        let entry = self.groups.remove(place)?;
        let values = entry.1.clone();
        self.groups.push_back(entry);
        Some(values)
    }

    /// Keeps values, in place of those that were not read for longest.
    pub(super) fn keep(&mut self, key: Key, values: Arc<Vec<u8>>) {
        self.bytes += values.len();
        while self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.groups.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        self.groups.push_back((key, values));
    }
}
