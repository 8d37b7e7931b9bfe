//! Buffers in device memory.

use std::sync::Arc;

use super::account::Entry;
use super::handle::Handle;
use crate::error::Result;

/// A named piece of device memory that shaders read and write; zero when made. Clones are the same piece.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) memory: Handle<wgpu::Buffer>,
    pub(super) entry: Arc<Entry>,
    bytes: u64,
}

impl Buffer {
    pub(super) fn new(memory: Handle<wgpu::Buffer>, entry: Entry) -> Self {
        Self { memory, bytes: entry.bytes, entry: Arc::new(entry) }
    }

    /// The same piece as far as `bytes` bytes: its bindings end there.
    #[doc(hidden)]
    pub fn up_to(&self, bytes: u64) -> Self {
        Self { bytes: bytes.min(self.bytes), ..self.clone() }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The name that errors call it by.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// The part that it is accounted under.
    pub fn part(&self) -> &'static str {
        self.entry.part
    }

    /// The driver's buffer.
    ///
    /// # Errors
    /// [`crate::Error::Device`] on a dry run.
    pub(super) fn raw(&self) -> Result<&wgpu::Buffer> {
        self.memory.get()
    }
}

/// A place in a buffer, for a binding or a condition whose size the shader knows.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// Where it begins, in bytes: a multiple of 256 for a uniform, of 4 for a condition.
    pub offset: u64,
}

impl<'a> From<&'a Buffer> for Slot<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self { buffer, offset: 0 }
    }
}
