//! Device memory, and the account of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Gpu;
use super::adapter::Hardware;
use crate::error::{Error, Result};

/// A named piece of device memory that shaders read and write; zero when made. Clones are the same piece.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// None on paper.
    pub(super) raw: Option<wgpu::Buffer>,
    entry: Arc<Entry>,
}

impl Buffer {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.entry.bytes
    }

    /// The name that errors call it by.
    pub fn name(&self) -> &str {
        &self.entry.name
    }
}

/// Bytes of the buffers there are, by name.
#[derive(Debug, Default)]
pub(super) struct Account(Mutex<BTreeMap<String, u64>>);

/// A buffer's entry in the account, for as long as there is the buffer.
#[derive(Debug)]
struct Entry {
    name: String,
    bytes: u64,
    account: Arc<Account>,
}

impl Entry {
    fn new(name: &str, bytes: u64, account: Arc<Account>) -> Self {
        let mut entries = account.0.lock().unwrap_or_else(PoisonError::into_inner);
        *entries.entry(name.to_owned()).or_default() += bytes;
        drop(entries);
        Self { name: name.to_owned(), bytes, account }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut entries = self.account.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = entries.get_mut(&self.name) {
            *bytes -= self.bytes;
        }
    }
}

impl Gpu {
    /// Makes a zeroed buffer of `elements` 32-bit words (at least 4, so that every buffer can be bound).
    ///
    /// # Errors
    /// [`Error::Config`] if it exceeds the largest binding of this device, [`Error::OutOfMemory`] if it does not fit.
    pub fn buffer(&self, name: &str, elements: u64) -> Result<Buffer> {
        let bytes = elements.max(4) * 4;
        if bytes > self.max_binding_bytes() {
            return Err(Error::Config(format!(
                "{name} would take {bytes} bytes, more than the {} that a shader can bind on this device: make the batch smaller",
                self.max_binding_bytes()
            )));
        }
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::UNIFORM
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        self.allocate(name, bytes, usage)
    }

    /// Makes a buffer that holds `values`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn buffer_from<T: bytemuck::Pod>(&self, name: &str, values: &[T]) -> Result<Buffer> {
        let buffer = self.buffer(name, (size_of_val(values) as u64).div_ceil(4))?;
        self.upload(&buffer, 0, values);
        Ok(buffer)
    }

    /// Writes `values` at `offset` bytes, before whatever is submitted next.
    ///
    /// # Panics
    /// If it reaches past the buffer's end: sizes are the caller's own.
    pub fn upload<T: bytemuck::Pod>(&self, buffer: &Buffer, offset: u64, values: &[T]) {
        assert!(offset + size_of_val(values) as u64 <= buffer.bytes(), "{}: upload past the end", buffer.name());
        if let (Some(Hardware { queue, .. }), Some(raw), false) = (&self.hardware, &buffer.raw, values.is_empty()) {
            queue.write_buffer(raw, offset, bytemuck::cast_slice(values));
        }
    }

    /// Bytes of the buffers that there are on this device now, by name; what the driver takes for itself is not known.
    pub fn memory(&self) -> BTreeMap<String, u64> {
        let entries = self.account.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|(_, bytes)| **bytes > 0).map(|(name, bytes)| (name.clone(), *bytes)).collect()
    }

    /// Bytes that wgpu's allocator has reserved on the device, where it tells: buffers, their alignment, and whatever wgpu
    /// keeps besides.
    pub fn reserved_bytes(&self) -> Option<u64> {
        Some(self.hardware.as_ref()?.device.generate_allocator_report()?.total_reserved_bytes)
    }

    pub(super) fn allocate(&self, name: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer> {
        let raw = match &self.hardware {
            Some(Hardware { device, .. }) => Some(create(device, name, bytes, usage)?),
            None => None,
        };
        Ok(Buffer { raw, entry: Arc::new(Entry::new(name, bytes, self.account.clone())) })
    }
}

fn create(device: &wgpu::Device, name: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
    let out_of_memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let raw = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size: bytes,
        usage,
        mapped_at_creation: false,
    });
    let refusals = [pollster::block_on(invalid.pop()), pollster::block_on(out_of_memory.pop())];
    match refusals.into_iter().flatten().next() {
        None => Ok(raw),
        Some(refusal) => {
            tracing::debug!("{name}: {refusal}");
            Err(Error::OutOfMemory { what: name.to_owned(), bytes })
        }
    }
}
