//! Uploads through mapped buffers that are used again and again, where [`Gpu::upload`] makes one anew each time.

use std::sync::{Arc, Mutex, PoisonError};

use super::device::{Hardware, Wait};
use super::{Buffer, Gpu};
use crate::error::{Error, Result};

/// Mapped buffers that uploads go through; those of uploads under way come back once the device has copied them.
#[derive(Default)]
pub struct UploadBuffers {
    free: Arc<Mutex<Vec<Buffer>>>,
}

impl UploadBuffers {
    /// Makes room for `count` uploads of `bytes` bytes that are under way at once. Without it each makes its own room,
    /// which is kept.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve(&self, gpu: &Gpu, bytes: u64, count: usize) -> Result<()> {
        for _ in 0..count {
            give_back(&self.free, allocate(gpu, bytes)?);
        }
        Ok(())
    }

    /// Writes `bytes` to the start of `target`, before whatever is submitted next; up to three zeros follow them, up to
    /// a multiple of 4 bytes. A dry run keeps no values.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there is no room for a copy; [`Error::DeviceLost`] or [`Error::Device`] if the device
    /// has failed.
    ///
    /// # Panics
    /// If it reaches past the target's end: sizes are the caller's own.
    pub fn upload(&self, gpu: &Gpu, target: &Buffer, bytes: &[u8]) -> Result<()> {
        let words = (bytes.len() as u64).next_multiple_of(4);
        assert!(words <= target.bytes(), "{}: upload past the end", target.name());
        if gpu.is_dry_run() || bytes.is_empty() {
            return Ok(());
        }
        gpu.check()?;
        let Hardware { device, queue, .. } = gpu.hardware()?;
        let buffer = self.take(gpu, words)?;
        let raw = buffer.raw()?.clone();
        let lost = |error: wgpu::MapRangeError| Error::DeviceLost(format!("an upload cannot be written: {error}"));
        let mut mapped = raw.get_mapped_range_mut(..words).map_err(lost)?;
        mapped.slice(..bytes.len()).copy_from_slice(bytes);
        mapped.slice(bytes.len()..).fill(0);
        drop(mapped);
        raw.unmap();
        let mut encoder = device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&raw, 0, target.raw()?, 0, words);
        queue.submit([encoder.finish()]);
        let free = self.free.clone();
        raw.map_async(wgpu::MapMode::Write, .., move |outcome| {
            if outcome.is_ok() {
                give_back(&free, buffer);
            }
        });
        Ok(())
    }

    /// The smallest free buffer that holds so many bytes, or a new one.
    fn take(&self, gpu: &Gpu, bytes: u64) -> Result<Buffer> {
        if let Some(buffer) = take_fitting(&self.free, bytes) {
            return Ok(buffer);
        }
        // The device may be done with one, and nobody may have asked since.
        gpu.poll(Wait::Nothing)?;
        take_fitting(&self.free, bytes).map_or_else(|| allocate(gpu, bytes), Ok)
    }
}

fn take_fitting(free: &Mutex<Vec<Buffer>>, bytes: u64) -> Option<Buffer> {
    let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = free.iter().enumerate().filter(|(_, buffer)| buffer.bytes() >= bytes);
    let (at, _) = fitting.min_by_key(|(_, buffer)| buffer.bytes())?;
    Some(free.swap_remove(at))
}

fn give_back(free: &Mutex<Vec<Buffer>>, buffer: Buffer) {
    free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
}

/// A mapped buffer.
fn allocate(gpu: &Gpu, bytes: u64) -> Result<Buffer> {
    gpu.for_part("upload").allocate(
        "rows to upload",
        bytes,
        wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::AdapterChoice;

    #[test]
    fn what_is_uploaded_arrives_and_its_buffers_are_used_again() {
        let gpu = Gpu::open(&AdapterChoice::Best).unwrap();
        let gpu = gpu.with_max_binding_bytes(u64::MAX);
        let (target, buffers) = (gpu.buffer("values", 8).unwrap(), UploadBuffers::default());
        buffers.reserve(&gpu, 32, 2).unwrap();
        for length in [32, 5, 8, 0, 31] {
            for round in 0..3_u8 {
                let bytes: Vec<u8> = (1..=length).map(|byte| byte + 40 * round).collect();
                let before: Vec<u32> = gpu.read(&target).unwrap();
                buffers.upload(&gpu, &target, &bytes).unwrap();
                let found: Vec<u32> = gpu.read(&target).unwrap();
                let (found, before) = (bytemuck::cast_slice::<_, u8>(&found), bytemuck::cast_slice::<_, u8>(&before));
                let words = bytes.len().next_multiple_of(4);
                assert_eq!(found[..bytes.len()], bytes);
                assert!(found[bytes.len()..words].iter().all(|&byte| byte == 0));
                assert_eq!(found[words..], before[words..]);
            }
        }
        assert_eq!(gpu.memory()["upload"], 64);
        assert_eq!(buffers.free.lock().unwrap().len(), 2);
    }

    #[test]
    fn uploads_under_way_at_once_do_not_wait_for_one_another() {
        let gpu = Gpu::open(&AdapterChoice::Best).unwrap();
        let buffers = UploadBuffers::default();
        let targets: Vec<Buffer> = (0..5).map(|_| gpu.buffer("values", 4).unwrap()).collect();
        for (number, target) in targets.iter().enumerate() {
            buffers.upload(&gpu, target, &[number as u8; 16]).unwrap();
        }
        for (number, target) in targets.iter().enumerate() {
            assert_eq!(gpu.read::<[u8; 4]>(target).unwrap(), [[number as u8; 4]; 4]);
        }
    }
}
