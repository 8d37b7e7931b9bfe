//! A checksum of rows in any order.

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The sum of the XXH3 of rows with their columns, each of 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct RowsChecksum(u128);

impl RowsChecksum {
    /// Adds a row with its columns.
    pub fn add(&mut self, row: &[u8]) {
        self.0 = self.0.wrapping_add(xxh3_64(row).into());
    }
}

impl Add for RowsChecksum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl fmt::Display for RowsChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<RowsChecksum> for String {
    fn from(checksum: RowsChecksum) -> Self {
        checksum.to_string()
    }
}

impl TryFrom<String> for RowsChecksum {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}
