//! Decoded row groups, of which those that were read last are kept.

use std::collections::VecDeque;
use std::sync::Arc;

/// Values by column and row group, those that were read last at the end.
#[derive(Debug)]
pub(super) struct Cache {
    /// Bytes that are kept, or one group if that is larger.
    most: usize,
    groups: VecDeque<(Key, Arc<Vec<u8>>)>,
    bytes: usize,
}

/// A column and a row group.
pub(super) type Key = (usize, usize);

impl Cache {
    pub(super) fn new(most: usize) -> Self {
        Self { most, groups: VecDeque::new(), bytes: 0 }
    }

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
        while self.bytes > self.most {
            let Some((_, oldest)) = self.groups.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        self.groups.push_back((key, values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_read_last_are_kept() {
        let mut cache = Cache::new(10);
        let group = |bytes: usize| Arc::new(vec![0; bytes]);
        cache.keep((0, 0), group(4));
        cache.keep((0, 1), group(4));
        assert!(cache.find((0, 0)).is_some());
        cache.keep((1, 0), group(4));
        assert!(cache.find((0, 1)).is_none());
        assert_eq!(cache.find((0, 0)).map(|values| values.len()), Some(4));
        assert!(cache.find((1, 0)).is_some());
        cache.keep((0, 2), group(11));
        assert!(cache.find((0, 2)).is_some());
        assert_eq!((cache.groups.len(), cache.bytes), (1, 11));
    }
}
