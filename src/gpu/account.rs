//! The account of a device: bytes by part, and what was made on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What was made on a device so far. Batches and steps make nothing: they use what was made before the first of them.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Buffers, those included that no longer exist.
    pub buffers: u64,
    /// Pipelines, those included that were found compiled.
    pub pipelines: u64,
    /// Programs, each with a bind group for every dispatch.
    pub programs: u64,
}

/// Bytes of the buffers that exist, by part, and what was made. Clones are the same account.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<Mutex<Sums>>);

#[derive(Debug, Default)]
struct Sums {
    bytes: BTreeMap<&'static str, u64>,
    made: Made,
}

impl Account {
    /// Bytes by part.
    pub fn by_part(&self) -> BTreeMap<&'static str, u64> {
        self.with(|sums| {
            sums.bytes.iter().filter(|(_, bytes)| **bytes > 0).map(|(part, bytes)| (*part, *bytes)).collect()
        })
    }

    /// What was made.
    pub fn made(&self) -> Made {
        self.with(|sums| sums.made)
    }

    /// Counts something that was made.
    pub fn count(&self, count: impl FnOnce(&mut Made)) {
        self.with(|sums| count(&mut sums.made));
    }

    fn change(&self, part: &'static str, change: impl FnOnce(&mut u64)) {
        self.with(|sums| change(sums.bytes.entry(part).or_default()));
    }

    fn with<T>(&self, use_sums: impl FnOnce(&mut Sums) -> T) -> T {
        use_sums(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A buffer's entry in the account, for as long as the buffer exists.
#[derive(Debug)]
pub(super) struct Entry {
    pub part: &'static str,
    pub name: String,
    pub bytes: u64,
    account: Account,
}

impl Entry {
    pub fn new(account: &Account, part: &'static str, name: &str, bytes: u64) -> Self {
        let entry = Self { part, name: name.to_owned(), bytes, account: account.clone() };
        account.change(part, |sum| *sum += bytes);
        account.count(|made| made.buffers += 1);
        entry
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.account.change(self.part, |sum| *sum -= self.bytes);
    }
}
