//! The account of device memory: bytes by part and by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of the buffers that exist, by part and name. Clones are the same account.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<Mutex<Entries>>);

type Entries = BTreeMap<(&'static str, String), u64>;

impl Account {
    /// Bytes by part.
    pub fn by_part(&self) -> BTreeMap<&'static str, u64> {
        self.sum(|part, _| part)
    }

    /// Bytes by buffer name.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        self.sum(|_, name| name.to_owned())
    }

    fn sum<K: Ord>(&self, key: impl Fn(&'static str, &str) -> K) -> BTreeMap<K, u64> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums = BTreeMap::new();
        for ((part, name), bytes) in entries.iter().filter(|(_, bytes)| **bytes > 0) {
            *sums.entry(key(part, name)).or_default() += bytes;
        }
        sums
    }

    fn change(&self, entry: &Entry, change: impl FnOnce(&mut u64)) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(entries.entry((entry.part, entry.name.clone())).or_default());
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
        account.change(&entry, |sum| *sum += bytes);
        entry
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.account.change(self, |sum| *sum -= self.bytes);
    }
}
