//! Numbers of rows, in memory that is used again.

use std::ops::Deref;
use std::sync::Arc;

use super::spares::Spares;

/// Numbers of rows of the data.
#[derive(Debug, Default)]
pub struct RowNumbers {
    numbers: Vec<u64>,
    /// Where the memory goes when it is dropped.
    home: Option<Arc<Spares<Vec<u64>>>>,
}

impl RowNumbers {
    /// None yet, in memory of `spares` if there is some.
    pub(super) fn reused(spares: &Arc<Spares<Vec<u64>>>) -> Self {
        let mut numbers = spares.take().unwrap_or_default();
        numbers.clear();
        Self { numbers, home: Some(spares.clone()) }
    }

    /// The numbers, to be written.
    pub(super) fn numbers_mut(&mut self) -> &mut Vec<u64> {
        &mut self.numbers
    }
}

impl Deref for RowNumbers {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.numbers
    }
}

impl Clone for RowNumbers {
    /// In memory of where its own came from, if there is some.
    fn clone(&self) -> Self {
        let Some(home) = &self.home else { return Self { numbers: self.numbers.clone(), home: None } };
        let mut copy = Self::reused(home);
        copy.numbers.extend_from_slice(&self.numbers);
        copy
    }
}

impl PartialEq for RowNumbers {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Drop for RowNumbers {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(std::mem::take(&mut self.numbers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let spares = Arc::new(Spares::default());
        let mut first = RowNumbers::reused(&spares);
        first.numbers_mut().extend(0..100);
        let (place, copy) = (first.as_ptr(), first.clone());
        assert_eq!(copy, first);
        drop(first);
        let mut second = RowNumbers::reused(&spares);
        assert!(second.is_empty());
        second.numbers_mut().extend(7..50);
        assert_eq!(second.as_ptr(), place);
        assert_eq!(spares.count(), 0);
        drop((copy, second));
        assert_eq!(spares.count(), 2);
    }
}
