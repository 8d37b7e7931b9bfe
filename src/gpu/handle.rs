//! What the driver holds for this program, or nothing on a dry run.

use crate::error::{Error, Result};

/// An object of the driver's; absent on a dry run, which makes everything and computes nothing.
#[derive(Clone, Debug)]
pub(super) enum Handle<T> {
    Device(T),
    DryRun,
}

impl<T> Handle<T> {
    /// The object.
    ///
    /// # Errors
    /// [`Error::Device`] on a dry run.
    pub fn get(&self) -> Result<&T> {
        match self {
            Self::Device(object) => Ok(object),
            Self::DryRun => Err(Error::Device("a dry run computes nothing: open a device to run this".into())),
        }
    }
}
