//! Device memory.

use super::Gpu;
use crate::error::{Error, Result};

/// A named piece of device memory that shaders read and write; zero when made.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    name: String,
}

impl Buffer {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.raw.size()
    }

    /// The name that errors call it by.
    pub fn name(&self) -> &str {
        &self.name
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
        Ok(Buffer { raw: self.allocate(name, bytes, usage)?, name: name.to_owned() })
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
        assert!(offset + size_of_val(values) as u64 <= buffer.bytes(), "{}: upload past the end", buffer.name);
        if !values.is_empty() {
            self.queue.write_buffer(&buffer.raw, offset, bytemuck::cast_slice(values));
        }
    }

    pub(super) fn allocate(&self, name: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let out_of_memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let invalid = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let raw = self.device.create_buffer(&wgpu::BufferDescriptor {
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
}
