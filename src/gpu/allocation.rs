//! Buffers made, filled and counted.

use std::collections::BTreeMap;

use super::account::{Entry, Made};
use super::device::Hardware;
use super::handle::Handle;
use super::{Buffer, Gpu};
use crate::error::{Error, Result};

impl Gpu {
    /// Makes a zeroed buffer of `elements` 32-bit words (at least 4, so that every buffer can be bound).
    ///
    /// # Errors
    /// [`Error::BindingTooLarge`] if it exceeds the largest binding of this device, [`Error::OutOfMemory`] if it does
    /// not fit.
    pub fn buffer(&self, name: &str, elements: u64) -> Result<Buffer> {
        let bytes = elements.max(4) * 4;
        if bytes > self.max_binding_bytes() {
            return Err(Error::BindingTooLarge { what: name.to_owned(), bytes, limit: self.max_binding_bytes() });
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

    /// Writes `values` at `offset` bytes, before whatever is submitted next. A dry run keeps no values.
    ///
    /// # Panics
    /// If it reaches past the buffer's end: sizes are the caller's own.
    pub fn upload<T: bytemuck::Pod>(&self, buffer: &Buffer, offset: u64, values: &[T]) {
        assert!(offset + size_of_val(values) as u64 <= buffer.bytes(), "{}: upload past the end", buffer.name());
        match (&self.hardware, &buffer.memory) {
            (Handle::Device(Hardware { queue, .. }), Handle::Device(raw)) if !values.is_empty() => {
                queue.write_buffer(raw, offset, bytemuck::cast_slice(values));
            }
            _ => {}
        }
    }

    /// Bytes of the buffers that exist on this device now, by part ([`Gpu::for_part`]; "other" unless said, "readback"
    /// for results on their way, "upload" for rows, "programs" for their parameters); what the driver takes for itself
    /// is not known.
    pub fn memory(&self) -> BTreeMap<&'static str, u64> {
        self.account.by_part()
    }

    /// What was made on this device since it was opened.
    #[doc(hidden)]
    pub fn made(&self) -> Made {
        self.account.made()
    }

    /// Bytes that wgpu's allocator has reserved on the device, where it tells: buffers, their alignment, and whatever
    /// wgpu keeps besides.
    pub fn reserved_bytes(&self) -> Option<u64> {
        Some(self.hardware().ok()?.device.generate_allocator_report()?.total_reserved_bytes)
    }

    pub(super) fn allocate(&self, name: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer> {
        let memory = match &self.hardware {
            Handle::Device(Hardware { device, .. }) => Handle::Device(create(device, name, bytes, usage)?),
            Handle::DryRun => Handle::DryRun,
        };
        Ok(Buffer::new(memory, Entry::new(&self.account, self.part, name, bytes)))
    }
}

fn create(device: &wgpu::Device, name: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
    let out_of_memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let raw = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size: bytes,
        usage,
        // What the host writes is mapped until it is submitted.
        mapped_at_creation: usage.contains(wgpu::BufferUsages::MAP_WRITE),
    });
    let refusals = [pollster::block_on(invalid.pop()), pollster::block_on(out_of_memory.pop())];
    match refusals.into_iter().flatten().next() {
        None => Ok(raw),
        Some(refusal) => {
            log::debug!("{name}: {refusal}");
            Err(Error::OutOfMemory { what: name.to_owned(), bytes })
        }
    }
}
