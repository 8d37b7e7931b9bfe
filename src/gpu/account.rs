//! The account of device memory: bytes by part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of the buffers that exist, by part. Clones are the same account.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Account {
    /// Bytes by part.
    pub fn by_part(&self) -> BTreeMap<&'static str, u64> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, bytes)| **bytes > 0).map(|(part, bytes)| (*part, *bytes)).collect()
    }

    fn change(&self, part: &'static str, change: impl FnOnce(&mut u64)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(part).or_default());
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
        entry
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.account.change(self.part, |sum| *sum -= self.bytes);
    }
}
