//! What every format of activations offers: a table of rows that is read by position, with columns beside it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use crate::error::Result;
use crate::storage::Dtype;

/// A file of rows, opened and checked. Threads may read it at once.
///
/// What a read returns is as the file has it, in little-endian order; values that are not finite are found by whoever
/// asks for them.
pub(crate) trait Reader: Debug + Send + Sync {
    /// Where the file is.
    fn path(&self) -> &Path;

    /// Size of the file.
    fn bytes(&self) -> u64;

    /// What messages call the rows' place in the file, e.g. "tensor `activations`".
    fn label(&self) -> &str;

    /// Number of rows.
    fn rows(&self) -> u64;

    /// Values per row, at least 1.
    fn width(&self) -> usize;

    /// Type of the values: f16, bf16 or f32.
    fn dtype(&self) -> Dtype;

    /// Fills `out` with whole rows from row `first` on, which must exist.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), or [`Error::Data`](crate::Error::Data) when the file has changed.
    fn read(&self, first: u64, out: &mut [u8]) -> Result<()>;

    /// All else that the file has, in its order.
    fn columns(&self) -> &[Column];

    /// Fills `out` with the values of a column of [`Self::columns`] whose first dimension is [`Self::rows`], from row
    /// `first` on.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn read_column(&self, column: usize, first: u64, out: &mut [u8]) -> Result<()>;

    /// What the file says about itself, e.g. `model_name`.
    fn metadata(&self) -> &BTreeMap<String, String>;

    /// Checksum (XXH3) of what the file says about its content: names, types, shapes, metadata.
    fn header_checksum(&self) -> String;
}

/// A tensor or column beside the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    /// Its type, as the file calls it.
    pub type_name: String,
    /// Its type, if it is one that can be read.
    pub dtype: Option<Dtype>,
    /// Its dimensions, the first being that of the rows.
    pub shape: Vec<usize>,
}

impl Column {
    /// Bytes beside each row, if it has the rows' first dimension and a type that can be read.
    pub fn row_bytes(&self, rows: u64) -> Option<usize> {
        let (&first, rest) = self.shape.split_first()?;
        let bytes = self.dtype?.bytes();
        let bytes = rest.iter().try_fold(bytes, |bytes, &length| bytes.checked_mul(length))?;
        (first as u64 == rows).then_some(bytes)
    }
}
